"""Deployments through Azure Resource Manager, with Microsoft's own client over loopback."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from finetune_providers.azure.provider import AzureProvider
from finetune_providers.openai.connection import Connection
from wire import stub
from wire.arm import Arm, StaticCredential, serving
from wire.helpers import job_spec

from finetune_sdk.errors import JobNotFound, PermissionRefused, ProviderError, QuotaExceeded, SpecError
from finetune_sdk.types import Artifact

MODEL = "gpt-4.1-mini-2025-04-14.ft-0123456789abcdef0123456789abcdef"


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
def provider(tmp_path: Path) -> Provider:
    return Provider(home=tmp_path / "home")


def artifact(provider: AzureProvider, arm_url: str, model: str = MODEL, **settings: str) -> Artifact:
    known = {"account": "acct", "arm_url": arm_url, "resource_group": "rg", "subscription": "sub", **settings}
    connection = Connection(
        url="https://acct.openai.azure.com",
        wire="v1",
        api_key_env="AZURE_OPENAI_API_KEY",
        settings=tuple(sorted(known.items())),
    )
    return Artifact(kind="hosted", uri=connection.reference(model, default=provider.home_connection))


def test_a_tuned_model_is_deployed_under_a_name_and_waited_for(provider: Provider, arm: Arm, arm_url: str) -> None:
    deployment = provider.deploy(artifact(provider, arm_url), name="support")
    assert (deployment.model, deployment.status) == ("support", "ready")
    assert arm.deployments["support"]["properties"]["model"]["name"] == MODEL


def test_a_deployment_answers_at_the_resources_own_address(provider: Provider, arm_url: str) -> None:
    assert provider.deploy(artifact(provider, arm_url), name="x").base_url == "https://acct.openai.azure.com/openai/v1/"


def test_sku_capacity_and_version_are_sent_as_chosen(provider: Provider, arm: Arm, arm_url: str) -> None:
    provider.deploy(artifact(provider, arm_url, sku="DeveloperTier", capacity="5", version="2"), name="x")
    sent = arm.deployments["x"]
    assert (sent["sku"], sent["properties"]["model"]["version"]) == ({"name": "DeveloperTier", "capacity": 5}, "2")


def test_the_price_by_the_hour_is_said_before_anything_is_deployed(provider: Provider, arm: Arm, arm_url: str) -> None:
    terms = provider.deploy_terms(artifact(provider, arm_url, sku="GlobalStandard"))
    assert ("GlobalStandard" in terms, "USD per hour" in terms, "15 days" in terms) == (True, True, True)
    assert arm.requests == []


def test_deploying_twice_under_one_name_changes_nothing(provider: Provider, arm: Arm, arm_url: str) -> None:
    first = provider.deploy(artifact(provider, arm_url), name="x")
    assert provider.deploy(artifact(provider, arm_url), name="x") == first
    assert [method for method, _ in arm.requests].count("PUT") == 1


def test_a_name_taken_by_another_model_is_refused(provider: Provider, arm: Arm, arm_url: str) -> None:
    provider.deploy(artifact(provider, arm_url), name="x")
    with pytest.raises(ProviderError, match="serves"):
        provider.deploy(artifact(provider, arm_url, model="another"), name="x")
    assert arm.deployments["x"]["properties"]["model"]["name"] == MODEL


def test_a_conflict_with_another_change_is_waited_out(provider: Provider, arm: Arm, arm_url: str) -> None:
    arm.conflicts = 1
    assert provider.deploy(artifact(provider, arm_url), name="x").status == "ready"


def test_changes_of_one_account_happen_one_after_the_other(provider: Provider, arm: Arm, arm_url: str) -> None:
    threads = [
        threading.Thread(target=provider.deploy, args=(artifact(provider, arm_url),), kwargs={"name": name})
        for name in ("one", "two", "three")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (sorted(arm.deployments), arm.most_at_once) == (["one", "three", "two"], 1)


def test_a_used_up_quota_says_what_to_do(provider: Provider, arm: Arm, arm_url: str) -> None:
    arm.out_of_quota = True
    with pytest.raises(QuotaExceeded, match="capacity"):
        provider.deploy(artifact(provider, arm_url), name="x")


def test_a_missing_role_is_named(provider: Provider, arm: Arm, arm_url: str) -> None:
    arm.forbidden = True
    with pytest.raises(PermissionRefused, match="Foundry Owner"):
        provider.deploy(artifact(provider, arm_url), name="x")


def test_a_failed_deployment_has_a_reason(provider: Provider, arm: Arm, arm_url: str) -> None:
    arm.fails = True
    with pytest.raises(ProviderError, match="could not be loaded"):
        provider.deploy(artifact(provider, arm_url), name="x")


def test_one_that_takes_longer_than_the_patience_is_still_starting(provider: Provider, arm: Arm, arm_url: str) -> None:
    arm.polls = 10_000
    assert provider.deploy(artifact(provider, arm_url, wait_s="0.05"), name="x").status == "starting"
    arm.operations.clear()  # or Microsoft's client would go on asking for minutes


def test_a_deployment_that_was_deleted_is_stopped(provider: Provider, arm: Arm, arm_url: str) -> None:
    deployment = provider.deploy(artifact(provider, arm_url), name="x")
    arm.deployments.clear()
    assert provider.deployment(deployment.id).status == "stopped"


def test_undeploying_deletes_and_may_be_repeated(provider: Provider, arm: Arm, arm_url: str) -> None:
    deployment = provider.deploy(artifact(provider, arm_url), name="x")
    provider.undeploy(deployment.id)
    provider.undeploy(deployment.id)
    assert arm.deployments == {}


@pytest.fixture
def account(arm_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the environment says about the account, where nothing else does."""
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://acct.openai.azure.com")
    monkeypatch.setenv("AZURE_SUBSCRIPTION_ID", "sub")
    monkeypatch.setenv("AZURE_RESOURCE_GROUP", "rg")
    monkeypatch.setenv("AZURE_ARM_URL", arm_url)
    return arm_url


def test_the_deployments_of_tuned_models_are_listed_and_no_others(
    provider: Provider, arm: Arm, arm_url: str, account: str
) -> None:
    assert account == arm_url
    provider.deploy(artifact(provider, arm_url), name="ours")
    provider.deploy(artifact(provider, arm_url, model="gpt-4o"), name="somebodys")
    (found,) = provider.deployments()
    assert (found.model, found.status) == ("ours", "ready")
    provider.undeploy(found.id)
    assert list(arm.deployments) == ["somebodys"]


def test_a_bare_name_is_a_deployment_of_the_account_in_the_environment(
    provider: Provider, arm: Arm, arm_url: str, account: str
) -> None:
    assert account == arm_url
    provider.deploy(artifact(provider, arm_url), name="ours")
    assert [provider.deployment(name).status for name in ("ours", "nobodys")] == ["ready", "stopped"]
    provider.undeploy("ours")
    assert arm.deployments == {}


def test_without_a_subscription_the_error_says_where_to_put_it(provider: Provider, arm_url: str) -> None:
    bare = Artifact(kind="hosted", uri="https://acct.openai.azure.com?wire=v1#model")
    with pytest.raises(SpecError, match="AZURE_SUBSCRIPTION_ID"):
        provider.deploy(bare, name="x")


# --- what else only Azure has


@pytest.fixture
def dated(monkeypatch: pytest.MonkeyPatch) -> Iterator[stub.Running]:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", stub.KEY)
    with stub.serving(stub.Service(dialect=stub.DIALECTS["azure-2024-10-21"])) as running:
        yield running
        assert running.service.violations == []


def test_a_job_can_be_deleted_at_the_vendor(provider: Provider, dated: stub.Running, tmp_path: Path) -> None:
    ref = provider.submit(provider.plan(_spec(tmp_path, dated.port)), key="ft-1")
    provider.delete(ref)
    with pytest.raises(JobNotFound):
        provider.poll(ref)


def test_a_file_is_imported_from_a_url_that_is_written_nowhere(
    provider: Provider, dated: stub.Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAIN_URL", "https://blob.example/rows.jsonl?sig=very-secret")
    plan = provider.plan(_spec(tmp_path, dated.port, import_url_env={"train": "TRAIN_URL"}))
    provider.submit(plan, key="ft-1")
    sent = [one.body["content_url"] for one in dated.service.requests if one.path == "/files/import"]
    kept = "".join(path.read_text() for path in provider.home.rglob("*") if path.is_file()) + repr(plan)
    assert (sent, "very-secret" in kept) == (["https://blob.example/rows.jsonl?sig=very-secret"], False)


def _spec(folder: Path, port: int, **options: Any) -> Any:
    base = job_spec(folder, "", provider="azure")
    where = {"endpoint": f"http://127.0.0.1:{port}", "api": "2024-10-21", "reconcile_wait_s": 0.01, **options}
    return base.model_copy(update={"options": {"azure": where}})
