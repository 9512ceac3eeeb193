"""The `peft` provider: fine-tuning on this machine with transformers, peft and TRL, in a worker process."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import ClassVar

import msgspec

from finetune_providers.peft import map as mapping
from finetune_providers.peft import methods, models
from finetune_providers.peft.claims import CAPABILITIES
from finetune_providers.peft.estimating import estimate
from finetune_providers.peft.judging import Judge
from finetune_providers.peft.options import PeftOptions, parse
from finetune_sdk.data import prepare
from finetune_sdk.deploy.served_here import ServedHere
from finetune_sdk.errors import DataError, JobNotFound, ProviderError, SpecError, Unsupported
from finetune_sdk.provider import Capabilities, Environment, Plan
from finetune_sdk.spec import RFT, SFT, DataSpec, JobSpec
from finetune_sdk.types import Artifact, Checkpoint, Event, JobState
from finetune_sdk.worker import process
from finetune_sdk.worker.envs import EnvStore

HERE = Path(__file__).parent
WORKER = HERE / "worker"
LOCK = HERE / "worker.lock"
SMOKE = ("torch", "transformers", "peft", "trl")


class PeftProvider(ServedHere):
    """Trains on this machine. A job's reference is its key; everything about it lies in `home/jobs/<key>`."""

    name: ClassVar[str] = "peft"
    capabilities: ClassVar[Capabilities] = CAPABILITIES
    environment: ClassVar[Environment | None] = Environment(lock=LOCK, smoke=SMOKE)
    worker: ClassVar[Path] = WORKER
    """The code that trains; a provider with another one and the same kind of request inherits the rest."""
    grading: ClassVar[Path | None] = WORKER / "graders.py"

    def check(self, spec: JobSpec) -> None:
        """Beyond the table: trackers whose package is missing here, and unknown options."""
        super().check(spec)
        self.options(spec)
        if spec.compute.environment in ("auto", "current"):
            self._check_trackers(spec)

    def options(self, spec: JobSpec) -> PeftOptions:
        """This provider's section of `spec.options`, validated."""
        return parse(spec.options.get(self.name, {}))

    def _check_trackers(self, spec: JobSpec) -> None:
        missing = [name for name in spec.report_to if importlib.util.find_spec(name) is None]
        if missing:
            what = f"`report_to: [{', '.join(missing)}]` (not installed in this interpreter)"
            raise Unsupported(self.name, what, f"Install it: pip install {' '.join(missing)}; or leave it out.")

    def plan(self, spec: JobSpec) -> Plan:
        """Reads the data and, of a local model, the file names. Loads nothing heavy."""
        self.check(spec)
        options = self.options(spec)
        model = models.resolve(spec.model_id)
        judge, doubts = _judge(spec, model, options)
        prepared = prepare(spec.data, method=spec.method.kind, judge=judge)
        if judge.conversations and not judge.template:
            _refuse_conversations(spec, model, self.name)
        request, notes = mapping.request(spec, model, options, prepared.files)
        return Plan(
            provider=self.name,
            request=request,
            data=prepared.files,
            findings=prepared.findings,
            cost=estimate(judge, prepared.rows, request),
            notes=(*notes, *doubts),
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
            process.start(
                folder,
                python=python,
                worker=self.worker,
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
        needs = self.environment or Environment(lock=LOCK, smoke=SMOKE)
        return EnvStore(self.home).python(self.name, needs.lock, wanted=wanted, smoke=needs.smoke)

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


def _judge(spec: JobSpec, model: str, options: PeftOptions) -> tuple[Judge, tuple[str, ...]]:
    """Who looks at the rows, and what is to be known about how."""
    knobs, method = spec.hyperparameters, spec.method
    limit = mapping.MAX_SEQ_LENGTH if knobs.max_seq_length == "auto" else knobs.max_seq_length
    name = f"max_seq_length {limit:,}"
    context = models.context(model)
    if context is not None and context < limit:
        limit, name = context, f"the model's context of {context:,}"
    if isinstance(method, RFT):
        given = method.max_completion_tokens
        answer = methods.MAX_COMPLETION_TOKENS if given == "auto" else given
        limit, name = limit - answer, f"{name} less max_completion_tokens {answer:,}"
    counter, doubts = models.vocabulary(model)
    judge = Judge(
        method=method.kind,
        train_on=method.train_on if isinstance(method, SFT) else "assistant",
        limit=limit,
        limit_name=name,
        counter=counter,
        template=options.chat_template is not None or not models.lacks_chat_template(model),
    )
    return judge, doubts


def _refuse_conversations(spec: JobSpec, model: str, provider: str) -> None:
    if spec.method.kind in ("pretraining", "classification"):
        return
    raise SpecError(
        f"model: the tokenizer in {model} has no chat template, and the data are conversations; set "
        f"options.{provider}.chat_template to a Jinja template or its path, or train on prompt/completion texts"
    )
