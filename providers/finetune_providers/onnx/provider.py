"""The `onnx` provider: fine-tune (or take a finished model), then export, quantise, measure and package it."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from finetune_providers.onnx import map as mapping
from finetune_providers.onnx import models, sources
from finetune_providers.onnx.claims import CAPABILITIES
from finetune_providers.onnx.olive.settling import settle
from finetune_providers.onnx.options import OnnxOptions, parse
from finetune_providers.peft.provider import WORKER as PEFT_WORKER
from finetune_providers.peft.provider import PeftProvider
from finetune_sdk.data import prepare
from finetune_sdk.deploy.served_here import ServedHere
from finetune_sdk.provider import Capabilities, Environment, Plan
from finetune_sdk.spec import JobSpec
from finetune_sdk.worker.places import Code
from finetune_sdk.worker.provider import WorkerProvider

HERE = Path(__file__).parent
WORKER = HERE / "worker"
LOCK = HERE / "worker.lock"
SMOKE = ("torch", "transformers", "peft", "onnx_ir", "onnxruntime_genai")
OLIVE = "onnx-olive"
"""The name of Olive's environment: its releases work with older libraries than the model builder's."""
OLIVE_ENVIRONMENT = Environment(lock=HERE / "olive" / "worker.lock", smoke=(*SMOKE, "olive"))


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
        model = source.base or source.path
        settled = settle(options.olive, model=spec.model_id)
        request, notes = mapping.request(
            spec,
            options,
            kind=kind,
            source=source,
            train=None,
            settled=settled,
            model_type=models.type_of(source.path, model),
        )
        return Plan(
            provider=self.name,
            request={**request, "peft_worker": str(PEFT_WORKER)},
            data=data.files,
            findings=(*data.findings, *sources.findings(options, kind, model, data.files, request)),
            notes=(*notes, *sources.doubts(options, source)),
        )

    def _plan_training(self, spec: JobSpec, options: OnnxOptions) -> Plan:
        peft = PeftProvider(home=self.home).plan(sources.for_peft(spec, options))
        model = str(peft.request["model"])
        kind = sources.kind(spec, model)
        settled = settle(options.olive, model=spec.model_id)
        request, notes = mapping.request(
            spec, options, kind=kind, source=None, train=peft.request, settled=settled, model_type=models.type_of(model)
        )
        return Plan(
            provider=self.name,
            request={**request, "peft_worker": str(PEFT_WORKER)},
            data=peft.data,
            findings=(*peft.findings, *sources.findings(options, kind, model, peft.data, request)),
            cost=peft.cost,
            notes=(*peft.notes, *notes),
        )

    def submit(self, plan: Plan, *, key: str) -> str:
        """Starts the worker, with the planned data, in the environment of its engine. Idempotent by key."""
        if mapping.engine(plan.request) == "olive":
            return _WithOlive(home=self.home, config=self.config).submit(plan, key=key)
        return super().submit(plan, key=key)

    def resume(self, ref: str) -> None:
        """The worker goes on with the stage it was in, in the environment of its engine."""
        if mapping.engine_of_job(self.home / "jobs" / ref) == "olive":
            return _WithOlive(home=self.home, config=self.config).resume(ref)
        return super().resume(ref)


class _WithOlive(OnnxProvider):
    """The same worker in Olive's environment."""

    @property
    def code(self) -> Code:
        return Code(name=OLIVE, worker=self.worker, environment=OLIVE_ENVIRONMENT)

    def submit(self, plan: Plan, *, key: str) -> str:
        return WorkerProvider.submit(self, plan, key=key)

    def resume(self, ref: str) -> None:
        return WorkerProvider.resume(self, ref)
