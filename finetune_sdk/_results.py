"""What a job leaves behind, as procedures: checkpoints, artifacts, deployments, predictions; and forgetting it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from finetune_sdk._procedures import refresh
from finetune_sdk._records import JobRecord
from finetune_sdk._steps import Call, Steps
from finetune_sdk.deploy import hosts, local
from finetune_sdk.deploy.asked import Serving
from finetune_sdk.deploy.handle import Deployed
from finetune_sdk.deploy.hosts import Hosting
from finetune_sdk.errors import SpecError, Unsupported, WrongStatus
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


def deploy(
    home: Path,
    job_id: str,
    *,
    name: str | None,
    kind: ArtifactKind | None,
    checkpoint: int | str | None,
    serving: Serving | None,
    to: str | None = None,
    hosting: Hosting | None = None,
) -> Steps[Deployed]:
    """Deploy one artifact or checkpoint of a job and store the deployment."""
    if to is not None and kind is None and checkpoint is None:
        kind = yield from _portable(home, job_id)
    provider, artifact = yield from _chosen(home, job_id, kind, checkpoint)
    if to is None:
        deed = _deed(home, provider, artifact, name or job_id, serving)
    else:
        deed = _hosted(home, to, artifact, name or job_id, hosting)
    deployment = yield from Call(deed, abandon=False)
    store = yield from Call(partial(JobStore, home))
    yield from Call(partial(store.save_deployment, job_id, deployment))
    return Deployed.of(deployment, home)


def _deed(
    home: Path, provider: Provider, artifact: Artifact, name: str, serving: Serving | None
) -> Callable[[], Deployment]:
    """The provider's own way; a server on this machine where it has none, or where one is described."""
    claimed = provider.capabilities.claim("feature.deploy").support
    if claimed and serving is None:
        return partial(provider.deploy, artifact, name=name)
    if local.servable(artifact):
        return partial(local.deploy, home, artifact, name=name, provider=provider.name, serving=serving)
    if not claimed:
        return partial(provider.deploy, artifact, name=name)  # says why not
    raise SpecError(
        f"{artifact.uri!r} does not lie on this machine: {provider.name} serves it, and `serving` says how here"
    )


def _hosted(home: Path, to: str, artifact: Artifact, name: str, hosting: Hosting | None) -> Callable[[], Deployment]:
    """At a host, which gets the model from this machine."""
    if not local.servable(artifact):
        raise SpecError(f"{artifact.uri!r} does not lie on this machine, so it cannot be brought to {to}")
    return partial(hosts.load(to, home=home).deploy, artifact, name=name, hosting=hosting or Hosting())


def _portable(home: Path, job_id: str) -> Steps[ArtifactKind]:
    """The kind a host is brought: as for an export."""
    folder = yield from exportable(home, job_id)
    found = yield from artifacts(home, job_id)
    return next(one.kind for one in found if Path(one.uri) == folder)


def exportable(home: Path, job_id: str) -> Steps[Path]:
    """The folder of the adapter, else of the whole model. Raises `WrongStatus` when none lies on this machine."""
    found = yield from artifacts(home, job_id)
    for kind in ("adapter", "model", "merged"):
        for one in found:
            if one.kind == kind and Path(one.uri).is_dir():
                return Path(one.uri)
    raise WrongStatus(f"job {job_id} left no model on this machine that could be exported")


def deploy_terms(home: Path, job_id: str, kind: ArtifactKind | None, checkpoint: int | str | None) -> Steps[str]:
    """What `deploy` with these arguments costs from then on; empty = nothing to say."""
    provider, artifact = yield from _chosen(home, job_id, kind, checkpoint)
    return (yield from Call(partial(provider.deploy_terms, artifact)))


def _chosen(
    home: Path, job_id: str, kind: ArtifactKind | None, checkpoint: int | str | None
) -> Steps[tuple[Provider, Artifact]]:
    """What is to be deployed. Raises `WrongStatus` when the job has no such thing."""
    job = yield from refresh(home, job_id)
    provider = yield from Call(partial(load, job.provider, home=home))
    if checkpoint is not None:
        if kind is not None:
            raise SpecError("`kind` chooses among the artifacts of a job, `checkpoint` among its checkpoints: give one")
        return provider, _checkpoint(job_id, (yield from checkpoints(home, job_id)), checkpoint)
    if job.status is not JobStatus.SUCCEEDED:
        raise WrongStatus(
            f"job {job_id} is {job.status}: only a succeeded job can be deployed, or one of its checkpoints"
        )
    found = yield from artifacts(home, job_id)
    wanted = _DEPLOYABLE if kind is None else (kind,)
    fitting = sorted((one for one in found if one.kind in wanted), key=lambda one: wanted.index(one.kind))
    if not fitting:
        has = ", ".join(sorted({one.kind for one in found})) or "none"
        raise WrongStatus(f"job {job_id} left no artifact of kind {' or '.join(wanted)}; it has: {has}")
    return provider, fitting[0]


def _checkpoint(job_id: str, found: Sequence[Checkpoint], wanted: int | str) -> Artifact:
    """The checkpoint of a step, or of a reference, as something to deploy."""
    for one in found:
        if wanted in (one.step, one.ref) or str(wanted) == str(one.step):
            return Artifact(kind="checkpoint", uri=one.ref)
    steps = ", ".join(str(one.step) for one in found) or "none yet"
    raise WrongStatus(f"job {job_id} has no checkpoint {wanted!r}; its steps are: {steps}")


def predictions(home: Path, job_id: str) -> Steps[tuple[Path, JobRecord]]:
    """The file of predictions on the held-out rows, and the record; made now where the provider asks a service."""
    found = yield from artifacts(home, job_id)
    store = yield from Call(partial(JobStore, home))
    job = yield from Call(partial(store.get, job_id))
    for artifact in found:
        if artifact.kind == "predictions":
            return Path(artifact.uri), job
    if job.ref is not None and job.status is JobStatus.SUCCEEDED and job.job_spec.evaluation is not None:
        provider = yield from Call(partial(load, job.provider, home=home))
        with suppress(Unsupported):
            return (yield from Call(partial(provider.evaluate, job.ref, key=job_id))), job
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
