"""The `autotrain` provider: Hugging Face AutoTrain on this machine, in an environment and a process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from finetune_providers.autotrain import map as mapping
from finetune_providers.autotrain.claims import CAPABILITIES
from finetune_providers.autotrain.judging import Judge
from finetune_providers.autotrain.options import parse
from finetune_providers.hub.rentable import Rentable
from finetune_providers.peft import models
from finetune_sdk.data import prepare
from finetune_sdk.data.methods import kinds_for
from finetune_sdk.deploy.served_here import ServedHere
from finetune_sdk.errors import SpecError
from finetune_sdk.provider import Capabilities, Environment, Plan
from finetune_sdk.spec import JobSpec
from finetune_sdk.types import Estimate

HERE = Path(__file__).parent
WORKER = HERE / "worker"
LOCK = HERE / "worker.lock"
SMOKE = ("torch", "autotrain.trainers.clm.params")
_GPU = Path("/dev/nvidiactl")


class AutoTrainProvider(Rentable, ServedHere):
    """Trains on this machine, or on a rented one. What is here of a job lies in `home/jobs/<key>`."""

    name: ClassVar[str] = "autotrain"
    capabilities: ClassVar[Capabilities] = CAPABILITIES
    environment: ClassVar[Environment | None] = Environment(lock=LOCK, smoke=SMOKE)
    worker: ClassVar[Path] = WORKER

    def plan(self, spec: JobSpec) -> Plan:
        """Reads the data and, of a local model, the file names. Loads nothing heavy."""
        self.check(spec)
        options = parse(spec)
        mapping.check_quantization(spec, gpu=_GPU.exists(), capabilities=self.capabilities)
        model = _model(spec.model_id)
        method = mapping.data_method(spec, options)
        kinds_for(method)
        judge = Judge(options.task_name, method)
        prepared = prepare(spec.data, method=method, judge=self.guarded(judge, spec))
        if options.as_they_are and judge.conversations:
            raise SpecError(
                "options.autotrain.chat_template: none takes texts as they are, and the data are conversations; give "
                "prompts and answers as plain strings, or use tokenizer, chatml or zephyr"
            )
        request, notes = mapping.request(spec, model, options, prepared.files)
        plan = Plan(
            provider=self.name,
            request=request,
            data=prepared.files,
            findings=prepared.findings,
            cost=Estimate(usd=0.0, basis="runs on this machine"),
            notes=notes,
        )
        plan = self.rented(plan, spec)
        mapping.check_rented(spec, plan.request, capabilities=self.capabilities)
        return plan


def _model(name: str) -> str:
    if name.startswith("builtin/"):
        raise SpecError(f"model: {name} is made by the peft provider; give a folder or a hub id")
    return models.resolve(name)
