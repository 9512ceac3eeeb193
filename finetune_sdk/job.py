"""`FineTuneJob` and `AsyncFineTuneJob`: a fine-tuning job, wherever it trains.

Both are handles: an id and a home, nothing else. Any process may attach to a job, follow and cancel it; a handle may be
dropped at any time. The verbs are written once, in `_procedures`; here they are only run.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

from finetune_sdk import _procedures, _results, _view, _watching, registry
from finetune_sdk._records import JobRecord
from finetune_sdk._steps import Call, Steps, aiterate, arun, iterate, run
from finetune_sdk.errors import SpecError
from finetune_sdk.home import home_folder, job_folder
from finetune_sdk.provider import Plan
from finetune_sdk.spec import JobSpec
from finetune_sdk.store import JobStore
from finetune_sdk.types import Artifact, ArtifactKind, Checkpoint, Event, JobStatus

if TYPE_CHECKING:
    from rich.console import RenderableType

    from finetune_sdk.deploy.asked import Serving
    from finetune_sdk.deploy.export import Exported, Target
    from finetune_sdk.deploy.handle import Deployed
    from finetune_sdk.deploy.hosts import Hosting
    from finetune_sdk.evaluate import Evaluated

SpecLike: TypeAlias = "JobSpec | str | os.PathLike[str] | Mapping[str, Any]"
"""A job description: a `JobSpec`, the path of a YAML or JSON file, or the mapping such a file holds."""
Home: TypeAlias = "str | Path | None"
"""The home folder; None = `FINETUNE_HOME`, else the platform's data folder."""


class _Handle:
    """What the two handles share: identity, and what is read from the disk without asking anybody."""

    __slots__ = ("home", "id")

    def __init__(self, job_id: str, home: Path) -> None:
        self.id = job_id
        self.home = home

    @property
    def record(self) -> JobRecord:
        """What the store knows, without asking the provider; `refresh` asks it. Raises `JobNotFound` once removed."""
        return JobStore(self.home).get(self.id)

    @property
    def status(self) -> JobStatus:
        """The status as of the last `refresh`, by whichever process."""
        return self.record.status

    @property
    def spec(self) -> JobSpec:
        """The job description as submitted, secrets taken out."""
        return self.record.job_spec

    @property
    def folder(self) -> Path:
        """The job's folder: `job.json`, and with local providers the worker's files."""
        return job_folder(self.home, self.id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Handle) and (self.id, self.home) == (other.id, other.home)

    def __hash__(self) -> int:
        return hash((self.id, self.home))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r}, home={str(self.home)!r})"

    def __rich__(self) -> RenderableType:
        return _view.table(self.record)

    def _repr_html_(self) -> str:
        return _view.html(self.record)


class FineTuneJob(_Handle):
    """A fine-tuning job. Get one by `submit`, `attach` or `list`; every verb blocks."""

    __slots__ = ()

    @staticmethod
    def plan(spec: SpecLike, *, provider: str | None = None, home: Home = None) -> Plan:
        """The dry run: the exact request, findings in the data, cost. Sends and writes nothing.

        `provider` replaces the spec's own. Raises `SpecError` (also `Unsupported`), `DataError`, `RegistryError`.
        """
        return run(_planning(spec, provider, home))

    @classmethod
    def submit(cls, spec: SpecLike, *, provider: str | None = None, home: Home = None) -> FineTuneJob:
        """Start a job and return its handle; blocks until the provider has accepted it, never until it is trained.

        Raises what `plan` raises, `DataError` for data with errors and `BudgetExceeded`, all before anything is stored
        or sent. `Ambiguous` means that nobody knows whether the job was accepted; it is stored and can be looked up.
        """
        return cls(run(_submitting(spec, provider, home)), home_folder(home))

    @classmethod
    def attach(cls, id: str, *, home: Home = None) -> FineTuneJob:  # noqa: A002 - the user's word
        """The handle of a job that exists; the start of its id will do if it is the only one. Raises `JobNotFound`."""
        return cls(run(_attaching(id, home)), home_folder(home))

    @classmethod
    def list(cls, *, home: Home = None) -> Sequence[FineTuneJob]:
        """All jobs of the home, newest first, as last seen."""
        return [cls(job_id, home_folder(home)) for job_id in run(_listing(home))]

    @staticmethod
    def watch_all(
        jobs: Sequence[str] | None = None, *, home: Home = None, poll_s: float | None = None
    ) -> Iterator[JobRecord]:
        """The record of each of these jobs (ids; None = all unfinished ones), and again whenever it changes.

        One loop for all: a thousand jobs cost a few requests a round where the provider can list them. Ends when none
        of them will change by itself; a failed job is a record like any other. A job that could not be watched to its
        rest is let go, and its error raised at the end. Only changes of status are told; `follow` tells every event.
        """
        return iterate(_watching.watch(home_folder(home), jobs, poll_s))

    def refresh(self) -> JobRecord:
        """Ask the provider, store its answer, and return it. A finished job is not asked about again."""
        return run(_procedures.refresh(self.home, self.id))

    def wait(self, *, timeout_s: float | None = None, poll_s: float | None = None) -> JobRecord:
        """Block until the job has succeeded, or is paused as asked. Raises `JobFailed` when it failed or was cancelled.

        A pause of the vendor's own (preemption) is waited out. `WaitTimeout` after `timeout_s` seconds does not cancel
        the job. `poll_s` None = from 0.5 s up to 10 s.
        """
        return run(_procedures.wait(self.home, self.id, timeout_s, poll_s))

    def follow(self, *, after: str | None = None, poll_s: float | None = None) -> Iterator[Event]:
        """The events as they come, those after cursor `after` only; ends when the job has ended, or rests as asked."""
        return iterate(_procedures.follow(self.home, self.id, after, poll_s))

    def events(self, *, after: str | None = None) -> Sequence[Event]:
        """The events so far, those after cursor `after` only."""
        return run(_procedures.events(self.home, self.id, after))

    def checkpoints(self) -> Sequence[Checkpoint]:
        """The whole checkpoints so far, lowest step first."""
        return run(_results.checkpoints(self.home, self.id))

    def cancel(self) -> JobRecord:
        """Ask the job to stop. Stored first, so it is not lost; does nothing once the job is over."""
        return run(_procedures.ask(self.home, self.id, "cancel"))

    def pause(self) -> JobRecord:
        """Ask the job to stop at a checkpoint, to be resumed. Raises `Unsupported`; `WrongStatus` once it is over."""
        return run(_procedures.ask(self.home, self.id, "pause"))

    def resume(self) -> JobRecord:
        """Continue a paused, failed or cancelled job from its last checkpoint. Raises `Unsupported`, `WrongStatus`."""
        return run(_procedures.ask(self.home, self.id, "resume"))

    def reconcile(self) -> JobRecord:
        """Finish a submission that broke off: adopt the provider's job, or submit it, never twice. `Unsupported`."""
        return run(_procedures.reconcile(self.home, self.id))

    def artifacts(self) -> Sequence[Artifact]:
        """What the job left behind so far."""
        return run(_results.artifacts(self.home, self.id))

    def deploy(
        self,
        *,
        name: str | None = None,
        kind: ArtifactKind | None = None,
        checkpoint: int | str | None = None,
        serving: Serving | None = None,
        to: str | None = None,
        hosting: Hosting | None = None,
    ) -> Deployed:
        """Make the result answer OpenAI's chat API under the model name `name` (None = the job's id).

        `kind` None = the first there is of merged, model, hosted, adapter, onnx, gguf. `checkpoint` (a step, or the
        `ref` of one of `checkpoints`) deploys that instead. Idempotent by name. It may cost by the hour from then on:
        `deploy_terms` says so before. `serving`: how a server on this machine is to serve it (address, key, engine).
        `to`: a host instead, such as `hf-endpoint`; `hosting` says on which machine (see `deploy.hosts`).
        """
        made = _results.deploy(
            self.home,
            self.id,
            name=name,
            kind=kind,
            checkpoint=checkpoint,
            serving=serving,
            to=to,
            hosting=hosting,
        )
        return run(made)

    def exportable(self) -> Path:
        """The folder `export` starts from: the adapter where there is one, else the model. Raises `WrongStatus`."""
        return run(_results.exportable(self.home, self.id))

    @overload
    def export(self, *, to: Literal["onnx"], **options: Any) -> FineTuneJob: ...
    @overload
    def export(self, *, to: Target, out: str | Path | None = None, **options: Any) -> Exported: ...
    def export(
        self, *, to: Target | Literal["onnx"], out: str | Path | None = None, **options: Any
    ) -> Exported | FineTuneJob:
        """The result in another form (merged, gguf, vllm, hub), compared with the trained model first.

        `options` as in `finetune_sdk.deploy.export.export`. Raises `ExportFailed` with the difference. To onnx it is a
        job of its own, submitted and answered: `precision`, `device` and more as in `deploy.onnx_export.spec_for`.
        """
        if to == "onnx":
            return FineTuneJob.submit(run(_onnx(self.home, self.id, out, options)), home=self.home)
        return run(_exporting(self.home, self.id, to, out, options))

    def deploy_terms(self, *, kind: ArtifactKind | None = None, checkpoint: int | str | None = None) -> str:
        """What `deploy` would cost from then on, in words; empty = nothing. Deploys nothing."""
        return run(_results.deploy_terms(self.home, self.id, kind, checkpoint))

    def evaluation(self) -> Evaluated:
        """Base and tuned model compared on the held-out rows. Raises `WrongStatus` where no predictions were made."""
        return run(_evaluating(self.home, self.id))

    def remove(self) -> None:
        """Forget a finished job: its record and its local files. What a vendor keeps, stays. Raises `WrongStatus`."""
        run(_results.remove(self.home, self.id))


class AsyncFineTuneJob(_Handle):
    """A fine-tuning job, awaited. The verbs and their meaning are those of `FineTuneJob`; what blocks runs in threads.

    Cancelling an awaiting task (also by a time-out) leaves the job alone.
    """

    __slots__ = ()

    @staticmethod
    async def plan(spec: SpecLike, *, provider: str | None = None, home: Home = None) -> Plan:
        """See `FineTuneJob.plan`."""
        return await arun(_planning(spec, provider, home))

    @classmethod
    async def submit(cls, spec: SpecLike, *, provider: str | None = None, home: Home = None) -> AsyncFineTuneJob:
        """See `FineTuneJob.submit`."""
        return cls(await arun(_submitting(spec, provider, home)), home_folder(home))

    @classmethod
    async def attach(cls, id: str, *, home: Home = None) -> AsyncFineTuneJob:  # noqa: A002 - the user's word
        """See `FineTuneJob.attach`."""
        return cls(await arun(_attaching(id, home)), home_folder(home))

    @classmethod
    async def list(cls, *, home: Home = None) -> Sequence[AsyncFineTuneJob]:
        """See `FineTuneJob.list`."""
        return [cls(job_id, home_folder(home)) for job_id in await arun(_listing(home))]

    @staticmethod
    def watch_all(
        jobs: Sequence[str] | None = None, *, home: Home = None, poll_s: float | None = None
    ) -> AsyncIterator[JobRecord]:
        """See `FineTuneJob.watch_all`."""
        return aiterate(_watching.watch(home_folder(home), jobs, poll_s))

    async def refresh(self) -> JobRecord:
        """See `FineTuneJob.refresh`."""
        return await arun(_procedures.refresh(self.home, self.id))

    async def wait(self, *, timeout_s: float | None = None, poll_s: float | None = None) -> JobRecord:
        """See `FineTuneJob.wait`."""
        return await arun(_procedures.wait(self.home, self.id, timeout_s, poll_s))

    def follow(self, *, after: str | None = None, poll_s: float | None = None) -> AsyncIterator[Event]:
        """See `FineTuneJob.follow`."""
        return aiterate(_procedures.follow(self.home, self.id, after, poll_s))

    async def events(self, *, after: str | None = None) -> Sequence[Event]:
        """See `FineTuneJob.events`."""
        return await arun(_procedures.events(self.home, self.id, after))

    async def checkpoints(self) -> Sequence[Checkpoint]:
        """See `FineTuneJob.checkpoints`."""
        return await arun(_results.checkpoints(self.home, self.id))

    async def cancel(self) -> JobRecord:
        """See `FineTuneJob.cancel`."""
        return await arun(_procedures.ask(self.home, self.id, "cancel"))

    async def pause(self) -> JobRecord:
        """See `FineTuneJob.pause`."""
        return await arun(_procedures.ask(self.home, self.id, "pause"))

    async def resume(self) -> JobRecord:
        """See `FineTuneJob.resume`."""
        return await arun(_procedures.ask(self.home, self.id, "resume"))

    async def reconcile(self) -> JobRecord:
        """See `FineTuneJob.reconcile`."""
        return await arun(_procedures.reconcile(self.home, self.id))

    async def artifacts(self) -> Sequence[Artifact]:
        """See `FineTuneJob.artifacts`."""
        return await arun(_results.artifacts(self.home, self.id))

    async def deploy(
        self,
        *,
        name: str | None = None,
        kind: ArtifactKind | None = None,
        checkpoint: int | str | None = None,
        serving: Serving | None = None,
        to: str | None = None,
        hosting: Hosting | None = None,
    ) -> Deployed:
        """See `FineTuneJob.deploy`. The verbs of what it answers block."""
        made = _results.deploy(
            self.home,
            self.id,
            name=name,
            kind=kind,
            checkpoint=checkpoint,
            serving=serving,
            to=to,
            hosting=hosting,
        )
        return await arun(made)

    async def exportable(self) -> Path:
        """See `FineTuneJob.exportable`."""
        return await arun(_results.exportable(self.home, self.id))

    @overload
    async def export(self, *, to: Literal["onnx"], **options: Any) -> AsyncFineTuneJob: ...
    @overload
    async def export(self, *, to: Target, out: str | Path | None = None, **options: Any) -> Exported: ...
    async def export(
        self, *, to: Target | Literal["onnx"], out: str | Path | None = None, **options: Any
    ) -> Exported | AsyncFineTuneJob:
        """See `FineTuneJob.export`."""
        if to == "onnx":
            return await AsyncFineTuneJob.submit(await arun(_onnx(self.home, self.id, out, options)), home=self.home)
        return await arun(_exporting(self.home, self.id, to, out, options))

    async def deploy_terms(self, *, kind: ArtifactKind | None = None, checkpoint: int | str | None = None) -> str:
        """See `FineTuneJob.deploy_terms`."""
        return await arun(_results.deploy_terms(self.home, self.id, kind, checkpoint))

    async def evaluation(self) -> Evaluated:
        """See `FineTuneJob.evaluation`."""
        return await arun(_evaluating(self.home, self.id))

    async def remove(self) -> None:
        """See `FineTuneJob.remove`."""
        await arun(_results.remove(self.home, self.id))


def _exporting(
    home: Path, job_id: str, to: Target, out: str | Path | None, options: Mapping[str, Any]
) -> Steps[Exported]:
    from finetune_sdk.deploy.export import export  # noqa: PLC0415 - only when asked for

    folder = yield from _results.exportable(home, job_id)
    where = None if out is None else Path(out)
    return (yield from Call(partial(export, home, folder, to=to, out=where, **options), abandon=False))


def _onnx(home: Path, job_id: str, out: str | Path | None, options: Mapping[str, Any]) -> Steps[JobSpec]:
    from finetune_sdk.deploy.onnx_export import spec_for  # noqa: PLC0415 - only when asked for

    if out is not None:
        raise SpecError("out: an ONNX package is an artefact of the job that makes it; leave it out")
    folder = yield from _results.exportable(home, job_id)
    return (yield from Call(partial(spec_for, folder, **options)))


def _planning(spec: SpecLike, provider: str | None, home: Home) -> Steps[Plan]:
    wanted = yield from Call(partial(_read_spec, spec, provider))
    return (yield from _procedures.plan(home_folder(home), wanted))


def _submitting(spec: SpecLike, provider: str | None, home: Home) -> Steps[str]:
    wanted = yield from Call(partial(_read_spec, spec, provider))
    return (yield from _procedures.submit(home_folder(home), wanted))


def _read_spec(spec: SpecLike, provider: str | None) -> JobSpec:
    if not isinstance(spec, JobSpec):
        from finetune_sdk import config  # noqa: PLC0415 - YAML and JSON Schema, only for files

        return config.load(spec, provider=provider, providers=registry.names())
    return spec if provider is None else spec.for_provider(provider)


def _attaching(id_or_prefix: str, home: Home) -> Steps[str]:
    if not id_or_prefix:
        raise SpecError("an empty job id names no job")
    store = yield from Call(partial(JobStore, home))
    return (yield from Call(partial(store.resolve, id_or_prefix)))


def _listing(home: Home) -> Steps[Sequence[str]]:
    store = yield from Call(partial(JobStore, home))
    jobs = yield from Call(store.jobs)
    return [job.id for job in jobs]


def _evaluating(home: Path, job_id: str) -> Steps[Evaluated]:
    from finetune_sdk.evaluate import evaluate_predictions  # noqa: PLC0415 - metrics, only when asked for

    path, job = yield from _results.predictions(home, job_id)
    evaluation = job.job_spec.evaluation
    metrics = evaluation.metrics if evaluation is not None else ("exact_match",)
    return (yield from Call(partial(evaluate_predictions, path, metrics)))
