"""An evaluation on Azure: the deployments it needs exist while it asks, and not a moment longer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from finetune_providers.azure.map import deployment_body
from finetune_providers.azure.provider import AzureProvider
from wire import stub
from wire.arm import ACCOUNT, Arm, StaticCredential, serving
from wire.helpers import MODEL, chat_rows, job_spec, write

from finetune_sdk.errors import ProviderError
from finetune_sdk.job import FineTuneJob
from finetune_sdk.registry import standing_in


class Provider(AzureProvider):
    """With a credential of the tests."""

    def credential(self) -> Any:
        return StaticCredential()


@pytest.fixture
def arm() -> Arm:
    return Arm()


@pytest.fixture
def arm_url(arm: Arm) -> Iterator[str]:
    with serving(arm) as url:
        yield url
        assert arm.violations == []


@pytest.fixture
def service(arm: Arm, monkeypatch: pytest.MonkeyPatch) -> Iterator[stub.Running]:
    """Answers under the names of deployments that exist, as Azure does."""

    def says(name: str, messages: list[dict[str, Any]]) -> str | None:
        served = arm.deployments[name]["properties"]["model"]["name"]
        number = int(str(messages[-1]["content"]).removeprefix("What follows ").rstrip("?"))
        return str(number + 1) if served.startswith("ft:") else "no idea"

    monkeypatch.setenv("AZURE_OPENAI_API_KEY", stub.KEY)
    kind = stub.Service(dialect=stub.DIALECTS["azure-v1"], script=("queued", "succeeded"), says=says)
    with stub.serving(kind) as running, standing_in("azure", lambda home: Provider(home=home)):
        yield running
        assert running.service.violations == []


@pytest.fixture
def job(service: stub.Running, arm_url: str, tmp_path: Path) -> FineTuneJob:
    place = {"subscription": "sub", "resource_group": "rg", "account": "acct", "arm_url": arm_url}
    options = {"endpoint": f"http://127.0.0.1:{service.port}", "reconcile_wait_s": 0.01, "deployment": place}
    base = job_spec(tmp_path, "", provider="azure", evaluation={})
    data = base.data.model_copy(update={"test": write(tmp_path / "test.jsonl", chat_rows(16)[-4:])})
    spec = base.model_copy(update={"options": {"azure": options}, "data": data})
    job = FineTuneJob.submit(spec, home=tmp_path / "home")
    job.wait(poll_s=0.001)
    return job


def test_both_models_are_deployed_while_they_are_asked_and_deleted_afterwards(job: FineTuneJob, arm: Arm) -> None:
    metric = job.evaluation().metric("exact_match")
    assert metric.base is not None
    assert metric.tuned is not None
    assert (metric.base.value, metric.tuned.value) == (0.0, 1.0)
    put = sorted(path.rpartition("/")[2].partition("-ftjob")[0] for method, path in arm.requests if method == "PUT")
    assert (put, arm.deployments) == (["eval", "eval"], {})


def test_the_base_model_is_deployed_by_its_name_and_version(job: FineTuneJob, arm: Arm) -> None:
    seen: list[Any] = []
    arm.on_put = lambda body: seen.append((body["properties"]["model"]["name"], body["properties"]["model"]["version"]))
    job.evaluation()
    name, _, version = MODEL.partition("-2025")
    assert (name, f"2025{version}") in seen


def test_a_deployment_that_is_there_is_used_and_left_alone(job: FineTuneJob, arm: Arm) -> None:
    body = deployment_body("gpt-4.1-mini", sku="Standard", capacity=1, version="2025-04-14")
    body["properties"]["provisioningState"] = "Succeeded"
    arm.deployments["ours"] = {"id": f"{ACCOUNT}/ours", "name": "ours", "type": "x", **body}
    job.evaluation()
    assert list(arm.deployments) == ["ours"]


def test_a_deployment_made_for_an_evaluation_that_fails_is_deleted_too(
    job: FineTuneJob, service: stub.Running, arm: Arm
) -> None:
    service.service.chat_quota = 0
    with pytest.raises(ProviderError):
        job.evaluation()
    assert arm.deployments == {}
