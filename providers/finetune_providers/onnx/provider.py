"""The `onnx` provider: fine-tune (or take a finished model), then export, quantise, measure and package it."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from finetune_providers.onnx import map as mapping
from finetune_providers.onnx import models, sources
from finetune_providers.onnx.claims import CAPABILITIES
from finetune_providers.onnx.options import OnnxOptions, parse
from finetune_providers.peft.provider import WORKER as PEFT_WORKER
from finetune_providers.peft.provider import PeftProvider
from finetune_sdk.data import prepare
from finetune_sdk.deploy.served_here import ServedHere
from finetune_sdk.provider import Capabilities, Environment, Plan
from finetune_sdk.spec import JobSpec
from finetune_sdk.worker.provider import WorkerProvider

HERE = Path(__file__).parent
WORKER = HERE / "worker"
LOCK = HERE / "worker.lock"
SMOKE = ("torch", "transformers", "peft", "onnx_ir", "onnxruntime_genai")


class OnnxProvider(WorkerProvider, ServedHere):
    """Works on this machine. A job's reference is its key; everything about it lies in `home/jobs/<key>`."""

    name: ClassVar[str] = "onnx"
    capabilities: ClassVar[Capabilities] = CAPABILITIES
    environment: ClassVar[Environment | None] = Environment(lock=LOCK, smoke=SMOKE)
    worker: ClassVar[Path] = WORKER

    def check(self, spec: JobSpec) -> None:
        """Beyond the table: options, and what they do not go with."""
        super().check(spec)
        sources.agree(spec, parse(spec.options.get(self.name, {})))

    def plan(self, spec: JobSpec) -> Plan:
        """Reads the data and, of local models, the file names and configurations. Loads nothing heavy."""
        self.check(spec)
        options = sources.settled(parse(spec.options.get(self.name, {})))
        if options.source is None:
            return self._plan_training(spec, options)
        source = models.source(options.source, spec.model_id)
        for name, folder in options.adapters.items():
            place = f"options.onnx.adapters.{name}"
            models.adapter(Path(folder), source.base or source.path, place=place)
        kind = sources.kind(spec, source.base or source.path)
        data = prepare(spec.data, method=spec.method.kind)
        request, notes = mapping.request(spec, options, kind=kind, source=source, train=None)
        return Plan(
            provider=self.name,
            request={**request, "peft_worker": str(PEFT_WORKER)},
            data=data.files,
            findings=(*data.findings, *sources.findings(options, kind, source.base or source.path, data.files)),
            notes=(*notes, *sources.doubts(options, source)),
        )

    def _plan_training(self, spec: JobSpec, options: OnnxOptions) -> Plan:
        peft = PeftProvider(home=self.home).plan(sources.for_peft(spec, options))
        kind = sources.kind(spec, str(peft.request["model"]))
        request, notes = mapping.request(spec, options, kind=kind, source=None, train=peft.request)
        return Plan(
            provider=self.name,
            request={**request, "peft_worker": str(PEFT_WORKER)},
            data=peft.data,
            findings=(*peft.findings, *sources.findings(options, kind, str(peft.request["model"]), peft.data)),
            cost=peft.cost,
            notes=(*peft.notes, *notes),
        )
