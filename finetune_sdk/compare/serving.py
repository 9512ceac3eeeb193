"""Letting a candidate answer: where it stands already, from its job, or the base model by itself."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pydantic import JsonValue

from finetune_sdk import registry
from finetune_sdk.compare.bench import Candidate
from finetune_sdk.deploy import local, record
from finetune_sdk.deploy.asked import Serving
from finetune_sdk.deploy.record import id_of
from finetune_sdk.errors import FineTuneError, JobNotFound, SpecError
from finetune_sdk.job import FineTuneJob
from finetune_sdk.provider import Support
from finetune_sdk.store import JobStore
from finetune_sdk.types import Artifact, Deployment


@contextmanager
def answering(
    home: Path,
    candidate: Candidate,
    *,
    name: str,
    model: str | None,
    job: FineTuneJob | None,
    most: int,
    options: Mapping[str, JsonValue] | None = None,
) -> Generator[Deployment]:
    """The candidate, ready to be asked, until the block ends; what was started for it is stopped then.

    `model`: the base model's id, or its folder. `most`: questions in flight at a time. `options`: the provider's own,
    for a base model at a vendor. Raises what deploying raises.
    """
    if candidate.at is not None:
        at = candidate.at
        yield Deployment(
            id=at.model,
            provider="given",
            model=at.model,
            base_url=at.base_url,
            status="ready",
            api_key_env=at.api_key_env,
        )
        return
    deployment = (
        _tuned(home, name, job) if job is not None else _base(home, candidate, name, model, most, options or {})
    )
    try:
        yield deployment
    finally:
        _ended(home, candidate.provider, deployment)


def _tuned(home: Path, name: str, job: FineTuneJob) -> Deployment:
    return _ready(home, job.deploy(name=name))


def _base(  # noqa: PLR0917 - one call
    home: Path, candidate: Candidate, name: str, model: str | None, most: int, options: Mapping[str, JsonValue]
) -> Deployment:
    if model is None:
        raise SpecError(f"candidate {candidate.name!r} has no base model")
    provider = registry.load(candidate.provider, home=home)
    if provider.environment is None:  # hosted: the vendor's own model answers under its id
        return _ready(home, provider.deploy_base(model, name=name, options=options))
    if not Path(model).is_dir():
        raise SpecError(
            f"candidate {candidate.name!r}: the base model {model!r} is not a folder on this machine; download it "
            f"(`hf download {model} --local-dir FOLDER`) and give the folder, or serve it yourself and use `at:`"
        )
    return _ready(
        home, local.deploy(home, Artifact(kind="model", uri=model), name=name, serving=Serving(max_rows=most))
    )


def _ready(home: Path, deployment: Deployment) -> Deployment:
    if deployment.status == "starting" and is_local(home, deployment):
        deployment = local.wait(home, deployment.id, timeout_s=local.READY_S)
    if deployment.status == "failed":
        raise FineTuneError(f"the deployment {deployment.id} failed: {deployment.error}")
    return deployment


def is_local(home: Path, deployment: Deployment) -> bool:
    """Whether a process of ours on this machine answers for it."""
    try:
        return record.read(record.folder_of(home, record.id_of(deployment.model))).base_url == deployment.base_url
    except JobNotFound:
        return False


def _ended(home: Path, provider: str, deployment: Deployment) -> None:
    """Free the memory, or end what costs by the hour."""
    if is_local(home, deployment):
        local.remove(home, id_of(deployment.model))
        JobStore(home).forget_deployment(deployment.id)
        return
    vendor = registry.load(provider, home=home)
    hosted = Artifact(kind="hosted", uri=deployment.model)
    ends = vendor.capabilities.claim("feature.undeploy").support not in (Support.UNSUPPORTED, Support.NOT_IMPLEMENTED)
    if ends and vendor.deploy_terms(hosted) and not vendor.undeploy_terms(deployment.id):
        vendor.undeploy(deployment.id)  # it costs by the hour, and nothing is lost with it
        JobStore(home).forget_deployment(deployment.id)
