"""What a job leaves behind, as procedures: checkpoints, artifacts, deployments, predictions; and forgetting it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from finetune_sdk._procedures import refresh
from finetune_sdk._records import JobRecord
from finetune_sdk._steps import Call, Steps
from finetune_sdk.errors import WrongStatus
from finetune_sdk.provider import Provider
from finetune_sdk.registry import load
from finetune_sdk.store import JobStore
from finetune_sdk.types import Artifact, ArtifactKind, Checkpoint, Deployment, JobStatus

_DEPLOYABLE: tuple[ArtifactKind, ...] = ("merged", "model", "hosted", "adapter", "onnx", "gguf")  # first = preferred


def checkpoints(home: Path, job_id: str) -> Steps[Sequence[Checkpoint]]:
    """The checkpoints so far, lowest step first."""
    provider, ref = yield from _at_provider(home, job_id)
    return [] if ref is None else (yield from Call(partial(provider.checkpoints, ref), repeat=True))


def artifacts(home: Path, job_id: str) -> Steps[Sequence[Artifact]]:
    """What the job left behind so far."""
    provider, ref = yield from _at_provider(home, job_id)
    return [] if ref is None else (yield from Call(partial(provider.artifacts, ref), repeat=True))


def _at_provider(home: Path, job_id: str) -> Steps[tuple[Provider, str | None]]:
    job = yield from refresh(home, job_id)
    provider = yield from Call(partial(load, job.provider, home=home))
    return provider, job.ref


def deploy(home: Path, job_id: str, name: str | None, kind: ArtifactKind | None) -> Steps[Deployment]:
    """Deploy one artifact of a succeeded job and store the deployment."""
    job = yield from refresh(home, job_id)
    if job.status is not JobStatus.SUCCEEDED:
        raise WrongStatus(f"job {job_id} is {job.status}: only a succeeded job can be deployed")
    found = yield from artifacts(home, job_id)
    wanted = _DEPLOYABLE if kind is None else (kind,)
    fitting = sorted((one for one in found if one.kind in wanted), key=lambda one: wanted.index(one.kind))
    if not fitting:
        has = ", ".join(sorted({one.kind for one in found})) or "none"
        raise WrongStatus(f"job {job_id} left no artifact of kind {' or '.join(wanted)}; it has: {has}")
    provider = yield from Call(partial(load, job.provider, home=home))
    deed = partial(provider.deploy, fitting[0], name=name or job_id)
    deployment = yield from Call(deed, abandon=False)
    store = yield from Call(partial(JobStore, home))
    yield from Call(partial(store.save_deployment, job_id, deployment))
    return deployment


def predictions(home: Path, job_id: str) -> Steps[tuple[Path, JobRecord]]:
    """The file of predictions on the held-out rows, and the record."""
    found = yield from artifacts(home, job_id)
    store = yield from Call(partial(JobStore, home))
    job = yield from Call(partial(store.get, job_id))
    for artifact in found:
        if artifact.kind == "predictions":
            return Path(artifact.uri), job
    raise WrongStatus(f"job {job_id} has no predictions: give its spec an `evaluation:` part, and let it succeed")


def remove(home: Path, job_id: str) -> Steps[None]:
    """Forget a finished job, here and in the provider's folders; a vendor keeps what it has."""
    job = yield from refresh(home, job_id)
    if not job.status.terminal:
        raise WrongStatus(f"job {job_id} is {job.status}: cancel it first")
    if job.ref is not None:
        provider = yield from Call(partial(load, job.provider, home=home))
        yield from Call(partial(provider.forget, job.ref))
    store = yield from Call(partial(JobStore, home))
    yield from Call(partial(store.remove, job_id))
