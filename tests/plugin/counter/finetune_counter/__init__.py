"""The smallest provider with a worker: its jobs count, in a process of their own."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import JsonValue

from finetune_sdk.data import prepare
from finetune_sdk.errors import SpecError
from finetune_sdk.provider import YES, Capabilities, Environment, Plan
from finetune_sdk.spec import JobSpec
from finetune_sdk.worker.provider import CLAIMS, WorkerProvider

HERE = Path(__file__).parent


class CounterProvider(WorkerProvider):
    """Only `plan` is to be written; every verb is inherited."""

    name: ClassVar[str] = "counter"
    worker: ClassVar[Path] = HERE / "worker.py"
    environment: ClassVar[Environment | None] = Environment(lock=HERE / "worker.lock", smoke=("json",))
    capabilities: ClassVar[Capabilities] = Capabilities(
        claims={
            **dict.fromkeys(("method.sft", "hyperparameters.max_steps", "hyperparameters.learning_rate"), YES),
            **CLAIMS,
        }
    )

    def plan(self, spec: JobSpec) -> Plan:
        self.check(spec)
        if spec.options.get(self.name):
            raise SpecError(f"[counter] unknown options {sorted(spec.options[self.name])}: it has none")
        data = prepare(spec.data, method=spec.method.kind)
        knobs = spec.hyperparameters
        request: dict[str, JsonValue] = {
            "model": spec.model_id,
            "steps": knobs.max_steps or 10,
            "rate": 1.0 if knobs.learning_rate == "auto" else knobs.learning_rate,
            "method": {"kind": spec.method.kind},  # `submit` reads these three; the rest is between you and your worker
            "compute": spec.compute.model_dump(mode="json"),
            "data": spec.data.model_dump(mode="json"),
        }
        return Plan(provider=self.name, request=request, data=data.files, findings=data.findings)
