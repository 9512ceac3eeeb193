"""The `peft` provider: fine-tuning on this machine with transformers, peft and TRL, in a worker process."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import ClassVar, cast

import msgspec
from pydantic import JsonValue

from finetune_providers.peft import map as mapping
from finetune_providers.peft import models
from finetune_providers.peft.claims import CAPABILITIES
from finetune_providers.peft.options import PeftOptions, parse
from finetune_sdk.data import Prepared, prepare
from finetune_sdk.data.example import Example, Message
from finetune_sdk.errors import DataError, JobNotFound, ProviderError, SpecError, Unsupported
from finetune_sdk.provider import Capabilities, Environment, Plan, Provider
from finetune_sdk.spec import DataSpec, JobSpec
from finetune_sdk.types import Artifact, Checkpoint, Estimate, Event, JobState
from finetune_sdk.worker import process
from finetune_sdk.worker.envs import EnvStore

HERE = Path(__file__).parent
WORKER = HERE / "worker"
LOCK = HERE / "worker.lock"
SMOKE = ("torch", "transformers", "peft", "trl")
_SAMPLED = 500
_CHARACTERS_PER_TOKEN = 4
_RAW = "prompt_completion"
"""The shape of rows made of plain strings: a model without a chat template can be trained on them as they are."""


class PeftProvider(Provider):
    """Trains on this machine. A job's reference is its key; everything about it lies in `home/jobs/<key>`."""

    name: ClassVar[str] = "peft"
    capabilities: ClassVar[Capabilities] = CAPABILITIES
    environment: ClassVar[Environment | None] = Environment(lock=LOCK, smoke=SMOKE)

    def check(self, spec: JobSpec) -> None:
        """Beyond the table: trackers whose package is missing here, and unknown options."""
        super().check(spec)
        parse(spec.options.get(self.name, {}))
        if spec.compute.environment in ("auto", "current"):
            self._check_trackers(spec)

    def _check_trackers(self, spec: JobSpec) -> None:
        missing = [name for name in spec.report_to if importlib.util.find_spec(name) is None]
        if missing:
            what = f"`report_to: [{', '.join(missing)}]` (not installed in this interpreter)"
            raise Unsupported(self.name, what, f"Install it: pip install {' '.join(missing)}; or leave it out.")

    def plan(self, spec: JobSpec) -> Plan:
        """Reads the data and, of a local model, the file names. Loads nothing heavy."""
        self.check(spec)
        options = parse(spec.options.get(self.name, {}))
        model = models.resolve(spec.model_id)
        prepared = prepare(spec.data, method=spec.method.kind)
        _check_template(spec, model, options, prepared)
        request, notes = mapping.request(spec, model, options, prepared.files)
        return Plan(
            provider=self.name,
            request=request,
            data=prepared.files,
            findings=prepared.findings,
            cost=_estimate(prepared, request),
            notes=notes,
        )

    def submit(self, plan: Plan, *, key: str) -> str:
        """Writes the data, finds or builds the interpreter, starts the worker. Idempotent by key, whatever a submitter that died left."""
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
            process.start(
                folder,
                python=python,
                worker=WORKER,
                request=plan.request,
                job_id=key,
                processes=sent.compute.processes,
            )
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
        """Those whose manifest was written last, so they are whole; `ref` is the folder."""
        found: list[Checkpoint] = []
        for manifest in self._known(ref).glob("checkpoints/checkpoint-*/manifest.json"):
            told = msgspec.json.decode(manifest.read_bytes(), type=_Manifest)
            found.append(Checkpoint(ref=str(manifest.parent), step=told.step, metrics=told.metrics))
        return sorted(found, key=lambda checkpoint: checkpoint.step)

    def cancel(self, ref: str) -> None:
        """The worker saves a checkpoint and leaves; one that does not is killed."""
        process.cancel(self._known(ref))

    def pause(self, ref: str) -> None:
        """The worker saves a checkpoint and leaves."""
        process.pause(self._known(ref))

    def resume(self, ref: str) -> None:
        """Starts the worker again in the same folder; it goes on from the newest whole checkpoint."""
        folder = self._known(ref)
        started = msgspec.json.decode((folder / "spec.json").read_bytes(), type=_Started)
        process.resume(folder, python=self._python(started.request.compute.environment))

    def artifacts(self, ref: str) -> list[Artifact]:
        """As `result.json` lists them."""
        return process.artifacts(self._known(ref))

    def forget(self, ref: str) -> None:
        """Deletes the job's folder: data, checkpoints, model."""
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


class _Manifest(msgspec.Struct):
    step: int
    metrics: dict[str, float]


class _Started(msgspec.Struct):
    request: mapping.Sent


def _check_template(spec: JobSpec, model: str, options: PeftOptions, prepared: Prepared) -> None:
    if spec.method.kind in ("pretraining", "classification") or options.chat_template is not None:
        return
    sampled = islice(prepared.examples(), _SAMPLED)
    if models.lacks_chat_template(model) and any(row.shape != _RAW for _, row in sampled):
        raise SpecError(
            f"model: the tokenizer in {model} has no chat template, and the data are conversations; set "
            "options.peft.chat_template to a Jinja template or its path, or train on prompt/completion texts"
        )


def _estimate(prepared: Prepared, request: Mapping[str, JsonValue]) -> Estimate:
    training, rows = mapping.sent(request).training, prepared.rows.get("train", 0)
    sampled = [_characters(row) for role, row in islice(prepared.examples(), _SAMPLED) if role == "train"]
    seen = training.max_steps * training.batch_size if training.max_steps else training.epochs * rows
    tokens = int(sum(sampled) / max(1, len(sampled)) * seen / _CHARACTERS_PER_TOKEN)
    basis = "runs on this machine; tokens within a factor of two, from the length of the texts"
    return Estimate(usd=0.0, basis=basis, tokens=tokens)


def _characters(example: Example) -> int:
    """Length of the texts of a row, whatever its kind."""
    messages = [
        message
        for name in ("messages", "prompt", "completion", "chosen", "rejected")
        for message in cast("Sequence[Message]", getattr(example, name, ()))
    ]
    return sum(len(message.text) for message in messages) + len(getattr(example, "text", ""))
