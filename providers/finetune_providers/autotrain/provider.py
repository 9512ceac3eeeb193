"""The `autotrain` provider: Hugging Face AutoTrain on this machine, in an environment and a process of its own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import ClassVar

from finetune_providers.autotrain import map as mapping
from finetune_providers.autotrain.claims import CAPABILITIES
from finetune_providers.autotrain.judging import Judge
from finetune_providers.autotrain.options import parse
from finetune_providers.peft import models
from finetune_sdk.data import prepare
from finetune_sdk.data.methods import kinds_for
from finetune_sdk.errors import DataError, JobNotFound, ProviderError, SpecError
from finetune_sdk.provider import Capabilities, Environment, Plan, Provider
from finetune_sdk.spec import DataSpec, JobSpec
from finetune_sdk.types import Artifact, Estimate, Event, JobState
from finetune_sdk.worker import process
from finetune_sdk.worker.envs import EnvStore

HERE = Path(__file__).parent
WORKER = HERE / "worker"
LOCK = HERE / "worker.lock"
SMOKE = ("torch", "autotrain.trainers.clm.params")
_GPU = Path("/dev/nvidiactl")


class AutoTrainProvider(Provider):
    """A job's reference is its key; everything about it lies in `home/jobs/<key>`."""

    name: ClassVar[str] = "autotrain"
    capabilities: ClassVar[Capabilities] = CAPABILITIES
    environment: ClassVar[Environment | None] = Environment(lock=LOCK, smoke=SMOKE)

    def plan(self, spec: JobSpec) -> Plan:
        """Reads the data and, of a local model, the file names. Loads nothing heavy."""
        self.check(spec)
        options = parse(spec)
        mapping.check_quantization(spec, gpu=_GPU.exists(), capabilities=self.capabilities)
        model = _model(spec.model_id)
        method = mapping.data_method(spec, options)
        kinds_for(method)
        judge = Judge(options.task_name, method)
        prepared = prepare(spec.data, method=method, judge=judge)
        request, notes = mapping.request(spec, model, options, prepared.files)
        return Plan(
            provider=self.name,
            request=request,
            data=prepared.files,
            findings=prepared.findings,
            cost=Estimate(usd=0.0, basis="runs on this machine"),
            notes=notes,
        )

    def submit(self, plan: Plan, *, key: str) -> str:
        """Writes the data, finds or builds the environment, starts the worker. Idempotent by key, after crashes too."""
        folder = self._folder(key)
        if process.started(folder):
            return key
        sent = mapping.sent(plan.request)
        prepared = prepare(DataSpec.model_validate(sent.data), method=sent.data_method)
        if prepared.files != plan.data:
            raise DataError("the data changed since it was planned. Plan again.")
        python = self._python(sent.environment)
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

    def cancel(self, ref: str) -> None:
        """The worker ends after the running step and saves what was learned; one that does not is killed."""
        process.cancel(self._known(ref))

    def artifacts(self, ref: str) -> list[Artifact]:
        """As `result.json` lists them."""
        return process.artifacts(self._known(ref))

    def forget(self, ref: str) -> None:
        """Deletes the job's folder: data, model."""
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


def _model(name: str) -> str:
    if name.startswith("builtin/"):
        raise SpecError(f"model: {name} is made by the peft provider; give a folder or a hub id")
    return models.resolve(name)
