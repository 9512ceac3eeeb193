"""The contract between the SDK and a provider: `Provider`, `Capabilities`, `Plan`. Nothing else.

A provider is a blocking, stateless translator. Constructing one costs nothing, needs no credentials and sends nothing;
whatever it must remember lies at the vendor or under `home`. How to write one: docs/writing-a-provider.md.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import ClassVar

from pydantic import JsonValue

from finetune_sdk.errors import Unsupported
from finetune_sdk.spec import JobSpec, Model
from finetune_sdk.types import Artifact, Checkpoint, DataFile, Delivery, Deployment, Estimate, Event, Finding, JobState


class Support(StrEnum):
    """Five answers to "can this provider do it?". True in a condition means: go ahead."""

    FULL = "full"
    PARTIAL = "partial"
    """Works with the limits that the claim's note states."""
    NOT_IMPLEMENTED = "not implemented"
    """The vendor can, we have not done it yet."""
    UNSUPPORTED = "unsupported"
    """The vendor cannot."""
    UNKNOWN = "unknown"
    """Nobody could verify it."""

    def __bool__(self) -> bool:
        return self in (Support.FULL, Support.PARTIAL)


@dataclass(frozen=True, slots=True)
class Claim:
    """One answer, with where it was read."""

    support: Support = Support.UNSUPPORTED
    note: str = ""
    source: str = ""
    """URL or "measured"; empty = our own code decides it."""
    read_on: str = ""
    """ISO date the source was read."""


YES = Claim(Support.FULL)
NO = Claim()


@dataclass(frozen=True, slots=True)
class Limit:
    """A number a vendor enforces, with where it was read."""

    value: float
    source: str
    read_on: str


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a provider can do, as data. Whatever is not claimed is "no".

    `claims` maps a demand to a claim. A demand is what a spec asks for, as a dotted key: `method.dpo`,
    `method.dpo.beta`, `adapter.lora.dora`, `adapter.lora.quantize=4bit`, `hyperparameters.packing`, `seed`; see
    `demands`. A key with `=value` is looked up first, then the bare one. Deeds are `feature.<verb>`.
    """

    claims: Mapping[str, Claim] = field(default_factory=dict[str, Claim])
    limits: Mapping[str, Limit] = field(default_factory=dict[str, Limit])
    """Such as `min_rows`, `max_rows`, `max_file_bytes`."""
    notes: tuple[str, ...] = ()

    def claim(self, demand: str) -> Claim:
        """The claim for a demand; `NO` when nothing is claimed."""
        found = self.claims.get(demand)
        return found if found is not None else self.claims.get(demand.partition("=")[0], NO)


FEATURES = (
    *("find", "events", "checkpoints", "cancel", "pause", "resume", "artifacts", "deploy", "deployments", "undeploy"),
    "evaluate",
)
"""The deeds a provider may claim as `feature.<name>`. Two more say how sure it can be after a crash:

`feature.resubmit`: `submit` called twice with one key starts one job. `feature.exact_find`: `find` answering None is
proof that nothing was started. With both, a submission that broke off is finished by whoever looks at the job next.
"""


def demands(spec: JobSpec) -> list[str]:
    """Everything the spec asks a provider for, as dotted keys: each field that differs from its default or "auto"."""
    keys = [f"method.{spec.method.kind}", *_changed(spec.method, f"method.{spec.method.kind}")]
    if spec.adapter is not None:
        keys += [f"adapter.{spec.adapter.kind}", *_changed(spec.adapter, f"adapter.{spec.adapter.kind}")]
    keys += _changed(spec.hyperparameters, "hyperparameters")
    keys += [f"compute.kind={spec.compute.kind}"] if spec.compute.kind != "local" else []
    keys += _changed(spec.compute, "compute")
    keys += [f"data.{role}" for role in ("validation", "test") if getattr(spec.data, role) is not None]
    keys += [f"report_to={name}" for name in spec.report_to]
    keys += [name for name in ("seed", "suffix") if getattr(spec, name) is not None]
    keys += ["metadata"] if spec.metadata else []
    keys += ["feature.evaluate"] if spec.evaluation is not None else []
    keys += ["budget.max_hours"] if spec.budget.max_hours is not None else []
    return keys


def _changed(part: Model, prefix: str) -> Iterator[str]:
    for name, info in type(part).model_fields.items():
        value = getattr(part, name)
        if name == "kind" or value == "auto" or (not info.is_required() and value == info.default):
            continue
        yield f"{prefix}.{name}={value}" if isinstance(value, str) else f"{prefix}.{name}"


NOT_ESTIMATED = Estimate(usd=None, basis="not estimated")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A dry run: the exact request and all that is known before it is sent. No secret; equal specs, equal plans."""

    provider: str
    request: Mapping[str, JsonValue]
    """What `submit` will send or write, verbatim; `submit` needs nothing else."""
    data: tuple[DataFile, ...] = ()
    findings: tuple[Finding, ...] = ()
    cost: Estimate = NOT_ESTIMATED
    notes: tuple[str, ...] = ()
    """Choices the provider made for "auto", each with its reason."""

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Findings that forbid submission."""
        return tuple(finding for finding in self.findings if finding.severity == "error")


@dataclass(frozen=True, slots=True)
class Environment:
    """What a provider's worker runs in: `finetune envs create` builds it, `finetune doctor` checks for it."""

    lock: Path
    """The exact versions; what is really needed stands in the `.in` file beside it. Where the packages differ with a
    GPU, `<name>-cuda.lock` beside it is what is built on a machine that has one."""
    smoke: tuple[str, ...] = ()
    """Modules that must import once it is built."""


class Provider(ABC):
    """One place where models are fine-tuned. Subclasses set `name` and `capabilities` and implement the verbs.

    Every verb blocks, may be called from any thread, and translates the vendor's exceptions into `errors`. Read verbs
    may be repeated freely; `submit` is called once per key.
    """

    name: ClassVar[str]
    """The one word users write. It never changes: it is in people's files and databases."""
    capabilities: ClassVar[Capabilities]
    environment: ClassVar[Environment | None] = None
    """None = it runs no worker on this machine."""
    grading: ClassVar[Path | None] = None
    """A module of the standard library only with `check`, `build`, `sample_of` and `GraderError`: how its workers grade
    answers; beside it `locked`, whose `restrict(seconds)` takes a process's rights away. `finetune serve` grades single
    answers with it. None = it grades nothing on this machine."""

    def __init__(self, *, home: Path, config: Mapping[str, JsonValue] | None = None) -> None:
        """`home` is the SDK's folder (jobs, environments); `config` is this provider's own, validated by it."""
        self.home = home
        self.config: Mapping[str, JsonValue] = config or {}

    def check(self, spec: JobSpec) -> None:
        """Raise `Unsupported`, naming everything this provider cannot honour. Sends nothing, reads no data."""
        refused = [(demand, self.capabilities.claim(demand)) for demand in demands(spec)]
        refused = [(demand, claim) for demand, claim in refused if not claim.support]
        if not refused:
            return
        what = "; ".join(f"`{demand}`" + (f" ({claim.note})" if claim.note else "") for demand, claim in refused)
        raise Unsupported(self.name, what, self.remedy([demand for demand, _ in refused]))

    def remedy(self, refused: Sequence[str]) -> str:
        """What to do about refused demands; subclasses may know better."""
        first = refused[0].partition("=")[0]
        if first.startswith("method."):
            claims = self.capabilities.claims.items()
            known = {key.split(".")[1] for key, claim in claims if key.startswith("method.") and claim.support}
            return f"Choose a method it has ({', '.join(sorted(known))}), or another provider."
        what = "them" if len(refused) > 1 else f"`{first}`"
        return f"Remove {what} (the provider then decides), or choose another provider."

    @abstractmethod
    def plan(self, spec: JobSpec) -> Plan:
        """The dry run. Pure: writes nothing, sends nothing that creates or costs; the same spec gives the same plan.

        Raises `Unsupported`, `SpecError`, `DataError`.
        """

    @abstractmethod
    def submit(self, plan: Plan, *, key: str) -> str:
        """Start the job and return its reference. `key` is our job id: stored at the provider so that `find` sees it.

        Raises `Ambiguous` when a request was sent and its answer is unknown; everything else means nothing was started.
        """

    @abstractmethod
    def poll(self, ref: str) -> JobState:
        """The job's state now. Raises `JobNotFound`."""

    def poll_many(self, refs: Sequence[str]) -> Mapping[str, JobState]:  # noqa: ARG002 - the contract's signature
        """The states of as many of these jobs as a few requests tell, such as a vendor's list; for who watches many.

        What it leaves out is polled one by one. It must never know more than `poll` says: leave out what a list tells
        only in part, such as ended jobs whose metrics come otherwise.
        """
        return {}

    @abstractmethod
    def events(self, ref: str, after: str | None = None) -> list[Event]:
        """The job's events, oldest first, those after cursor `after` only. May be empty; never repeats."""

    def find(self, key: str) -> str | None:  # noqa: ARG002 - the contract's signature
        """The reference of the job submitted with this key, None if there is none: recovery after a crash."""
        raise Unsupported(self.name, "finding a job by its key", "Look the job up at the provider.")

    def checkpoints(self, ref: str) -> list[Checkpoint]:  # noqa: ARG002 - the contract's signature
        """Whole checkpoints, lowest step first."""
        return []

    def cancel(self, ref: str) -> None:  # noqa: ARG002 - the contract's signature
        """Ask the job to stop. Idempotent; does nothing when the job is over."""
        raise Unsupported(self.name, "cancelling a job", "Stop it at the provider.")

    def pause(self, ref: str) -> None:  # noqa: ARG002 - the contract's signature
        """Ask the job to stop at a checkpoint, to be resumed. Idempotent."""
        raise Unsupported(self.name, "pausing a job", "Cancel it instead.")

    def resume(self, ref: str) -> None:  # noqa: ARG002 - the contract's signature
        """Continue a paused, failed or cancelled job from its last whole checkpoint."""
        raise Unsupported(self.name, "resuming a job", "Submit it again.")

    def artifacts(self, ref: str) -> list[Artifact]:  # noqa: ARG002 - the contract's signature
        """What the job left behind so far."""
        return []

    def forget(self, ref: str) -> None:  # noqa: B027 - optional: most providers keep nothing
        """Delete what this provider keeps for a finished job under `home`; nothing at a vendor. Idempotent."""

    def deploy(self, artifact: Artifact, *, name: str) -> Deployment:  # noqa: ARG002 - the contract's signature
        """Make an artifact answer OpenAI's chat API under the model name `name`. Idempotent by name.

        An artifact of kind `checkpoint` has the reference of one of the job's checkpoints.
        """
        raise Unsupported(self.name, "deploying a model", "Load the artifact with the engine of your choice.")

    def deploy_terms(self, artifact: Artifact) -> str:  # noqa: ARG002 - the contract's signature
        """What deploying it costs from then on, to be shown before anybody says yes; empty = nothing. Sends nothing."""
        return ""

    def deploy_base(self, model: str, *, name: str, options: Mapping[str, JsonValue]) -> Deployment:  # noqa: ARG002
        """A base model, to be asked beside the tuned ones, on the server that jobs with these `options` go to."""
        return self.deploy(Artifact(kind="hosted", uri=model), name=name)

    def evaluate(self, ref: str, *, key: str) -> Path:  # noqa: ARG002 - the contract's signature
        """Predictions of the base and the tuned model on the held-out rows, as the file that `evaluate` scores.

        Only for providers whose jobs leave none by themselves. It costs what the plan has said; called again, it pays
        for nothing twice. Blocks until all is answered. `key` is our job id.
        """
        raise Unsupported(self.name, "evaluating a model", "Deploy it and ask it.")

    def deployments(self) -> Sequence[Deployment]:
        """What the account that the environment names serves of tuned models now, whoever deployed it. Only reads.

        Each `id` leads back to its deployment with nothing else at hand.
        """
        raise Unsupported(self.name, "listing deployments", "Look them up at the provider.")

    def deployment(self, name: str) -> Deployment:  # noqa: ARG002 - the contract's signature
        """A deployment as it stands now, by its `id` or bare name; status `stopped` when it is gone."""
        raise Unsupported(self.name, "looking up a deployment", "Look it up at the provider.")

    def undeploy(self, name: str) -> None:  # noqa: ARG002 - the contract's signature
        """End a deployment, by its `id` or bare name: it answers no more and costs no more. Idempotent."""
        raise Unsupported(self.name, "ending a deployment", "End it at the provider.")

    def undeploy_terms(self, name: str) -> str:  # noqa: ARG002 - the contract's signature
        """What is lost by `undeploy`, to be shown before anybody says yes; empty = it can be deployed again."""
        return ""

    def webhook(self, body: bytes, headers: Mapping[str, str], *, refs: Sequence[str]) -> Delivery | None:  # noqa: ARG002
        """Verify a delivery and say which of `refs` it is about; None = about no job. Raises `BadDelivery`."""
        raise Unsupported(self.name, "receiving webhooks", "Poll: `wait`, `follow` and `watch_all` do.")
