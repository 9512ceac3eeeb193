"""Letting a candidate answer: where it stands already, from its job, or the base model by itself."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from finetune_sdk import registry
from finetune_sdk.compare.bench import Candidate
from finetune_sdk.deploy import local
from finetune_sdk.deploy.record import id_of
from finetune_sdk.errors import FineTuneError, SpecError
from finetune_sdk.job import FineTuneJob
from finetune_sdk.provider import Support
from finetune_sdk.types import Artifact, Deployment


@contextmanager
def answering(
    home: Path, candidate: Candidate, *, name: str, model: str | None, job: FineTuneJob | None, most: int
) -> Generator[Deployment]:
    """The candidate, ready to be asked, until the block ends; what was started for it is stopped then.

    `model`: the base model's id, or its folder. `most`: questions in flight at a time. Raises what deploying raises.
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
    deployment = _tuned(home, name, job) if job is not None else _base(home, candidate, name, model, most)
    try:
        yield deployment
    finally:
        _ended(home, candidate.provider, deployment)


def _tuned(home: Path, name: str, job: FineTuneJob) -> Deployment:
    return _ready(home, job.deploy(name=name))


def _base(home: Path, candidate: Candidate, name: str, model: str | None, most: int) -> Deployment:
    if model is None:
        raise SpecError(f"candidate {candidate.name!r} has no base model")
    provider = registry.load(candidate.provider, home=home)
    if provider.environment is None:  # hosted: the vendor's own model answers under its id
        return _ready(home, provider.deploy(Artifact(kind="hosted", uri=model), name=name))
    if not Path(model).is_dir():
        raise SpecError(
            f"candidate {candidate.name!r}: the base model {model!r} is not a folder on this machine; download it "
            f"(`hf download {model} --local-dir FOLDER`) and give the folder, or serve it yourself and use `at:`"
        )
    return _ready(
        home, local.deploy(home, Artifact(kind="model", uri=model), name=name, serving=local.Serving(max_rows=most))
    )


def _ready(home: Path, deployment: Deployment) -> Deployment:
    if deployment.provider == local.PROVIDER and deployment.status == "starting":
        deployment = local.wait(home, deployment.id, timeout_s=local.READY_S)
    if deployment.status == "failed":
        raise FineTuneError(f"the deployment {deployment.id} failed: {deployment.error}")
    return deployment


def _ended(home: Path, provider: str, deployment: Deployment) -> None:
    """Free the memory, or end what costs by the hour."""
    if deployment.provider == local.PROVIDER:
        local.remove(home, id_of(deployment.model))
        return
    vendor = registry.load(provider, home=home)
    hosted = Artifact(kind="hosted", uri=deployment.model)
    ends = vendor.capabilities.claim("feature.undeploy").support not in (Support.UNSUPPORTED, Support.NOT_IMPLEMENTED)
    if ends and vendor.deploy_terms(hosted) and not vendor.undeploy_terms(deployment.id):
        vendor.undeploy(deployment.id)  # it costs by the hour, and nothing is lost with it
