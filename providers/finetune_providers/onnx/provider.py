"""The `onnx` provider: fine-tune (or take a finished model), then export, quantise, measure and package it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import ClassVar

import msgspec

from finetune_providers.onnx import map as mapping
from finetune_providers.onnx import models, sources
from finetune_providers.onnx.claims import CAPABILITIES
from finetune_providers.onnx.options import OnnxOptions, parse
from finetune_providers.peft.provider import WORKER as PEFT_WORKER
from finetune_providers.peft.provider import PeftProvider
from finetune_sdk.data import prepare
from finetune_sdk.deploy.served_here import ServedHere
from finetune_sdk.errors import DataError, JobNotFound, ProviderError
from finetune_sdk.provider import Capabilities, Environment, Plan
from finetune_sdk.spec import DataSpec, JobSpec
from finetune_sdk.types import Artifact, Checkpoint, Event, JobState
from finetune_sdk.worker import process
from finetune_sdk.worker.envs import EnvStore

HERE = Path(__file__).parent
WORKER = HERE / "worker"
LOCK = HERE / "worker.lock"
SMOKE = ("torch", "transformers", "peft", "onnx_ir", "onnxruntime_genai")


class OnnxProvider(ServedHere):
    """Works on this machine. A job's reference is its key; everything about it lies in `home/jobs/<key>`."""

    name: ClassVar[str] = "onnx"
    capabilities: ClassVar[Capabilities] = CAPABILITIES
    environment: ClassVar[Environment | None] = Environment(lock=LOCK, smoke=SMOKE)

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

    def submit(self, plan: Plan, *, key: str) -> str:
        """Writes the data, finds or builds the interpreter, starts the worker. Idempotent by key, after crashes too."""
        folder = self._folder(key)
        if process.started(folder):
            return key
        sent = mapping.sent(plan.request)
        prepared = prepare(DataSpec.model_validate(sent.data), method=sent.method.kind)
        if prepared.files != plan.data:
            raise DataError("the data changed since it was planned. Plan again.")
        python = self._python(sent.compute.environment)
        prepared.write(folder / "data")
        try:
            process.start(folder, python=python, worker=WORKER, request=plan.request, job_id=key)
        except ProviderError:
            if not process.started(folder):  # else another submitter of this key was quicker
                raise
        return key

    def find(self, key: str) -> str | None:
        """The key itself, if a worker was ever started for it or is just being started; None is proof of neither."""
        return key if process.started(self._folder(key)) else None

    def poll(self, ref: str) -> JobState:
        """From the worker's files; a worker that died without a result is FAILED with the reason."""
        return process.poll(self._known(ref))

    def events(self, ref: str, after: str | None = None) -> list[Event]:
        """From `events.jsonl`."""
        return list(process.events(self._known(ref), after))

    def checkpoints(self, ref: str) -> list[Checkpoint]:
        """Those of the training, whole ones only."""
        self._known(ref)
        return PeftProvider(home=self.home).checkpoints(ref)

    def cancel(self, ref: str) -> None:
        """A training saves a checkpoint and leaves; a conversion is ended where it stands."""
        process.cancel(self._known(ref))

    def pause(self, ref: str) -> None:
        """A training saves a checkpoint and leaves; the stage that runs is done again after `resume`."""
        process.pause(self._known(ref))

    def resume(self, ref: str) -> None:
        """Starts the worker again in the same folder; finished stages are not done again."""
        folder = self._known(ref)
        started = msgspec.json.decode((folder / "spec.json").read_bytes(), type=_Started)
        process.resume(folder, python=self._python(started.request.compute.environment))

    def artifacts(self, ref: str) -> list[Artifact]:
        """As `result.json` lists them; the package first."""
        return process.artifacts(self._known(ref))

    def forget(self, ref: str) -> None:
        """Deletes the job's folder: data, checkpoints, packages."""
        shutil.rmtree(self._folder(ref), ignore_errors=True)

    def _python(self, wanted: str) -> Path:
        return EnvStore(self.home).python(self.name, LOCK, wanted=wanted, smoke=SMOKE)

    def _folder(self, key: str) -> Path:
        return self.home / "jobs" / key

    def _known(self, ref: str) -> Path:
        folder = self._folder(ref)
        if not process.started(folder):
            raise JobNotFound(f"[{self.name}] no job {ref!r} in {folder.parent}", sent=False)
        return folder


class _Started(msgspec.Struct):
    request: mapping.Sent
