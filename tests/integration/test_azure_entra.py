"""Signing in with Entra ID: Microsoft's own DefaultAzureCredential, its tokens on both wires and for deployments."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from finetune_providers.azure import client
from finetune_providers.azure.provider import AzureProvider
from wire import entra, stub
from wire.arm import TOKEN, Arm
from wire.arm import serving as serving_arm
from wire.helpers import job_spec

from finetune_sdk.errors import AuthFailed
from finetune_sdk.spec import JobSpec
from finetune_sdk.types import Artifact

RESOURCES = {"v1": "https://ai.azure.com", "2024-10-21": "https://cognitiveservices.azure.com"}
MANAGEMENT = "https://management.azure.com"


@pytest.fixture
def identity(monkeypatch: pytest.MonkeyPatch) -> Iterator[entra.Identity]:
    """A host with a managed identity, and no key in the environment."""
    found = entra.Identity({**dict.fromkeys(RESOURCES.values(), stub.KEY), MANAGEMENT: TOKEN})
    monkeypatch.delenv("AZURE_OPENAI_API_KEY", raising=False)
    with entra.serving(found) as url:
        monkeypatch.setenv("IDENTITY_ENDPOINT", url)
        monkeypatch.setenv("IDENTITY_HEADER", entra.SECRET_HEADER)
        monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential")
        client.entra_token.cache_clear()
        yield found
        client.entra_token.cache_clear()


@pytest.fixture
def provider(tmp_path: Path) -> AzureProvider:
    return AzureProvider(home=tmp_path / "home")


def spec_for(folder: Path, port: int, api: str, **options: Any) -> JobSpec:
    where = {"endpoint": f"http://127.0.0.1:{port}", "api": api, "reconcile_wait_s": 0.01, **options}
    return job_spec(folder, "", provider="azure").model_copy(update={"options": {"azure": where}})


@pytest.mark.parametrize("api", RESOURCES)
def test_a_job_runs_with_the_token_of_a_managed_identity(
    identity: entra.Identity, provider: AzureProvider, tmp_path: Path, api: str
) -> None:
    service = stub.Service(dialect=stub.DIALECTS[f"azure-{api}"], script=("running", "succeeded"))
    with stub.serving(service) as running:
        ref = provider.submit(provider.plan(spec_for(tmp_path, running.port, api)), key="ft-1")
        provider.poll(ref)
        assert provider.poll(ref).model is not None
    sent = {one.headers.get("authorization") for one in service.requests}
    assert (sent, set(identity.asked)) == ({f"Bearer {stub.KEY}"}, {RESOURCES[api]})


def test_a_token_is_asked_for_once_while_it_lives(
    identity: entra.Identity, provider: AzureProvider, tmp_path: Path
) -> None:
    with stub.serving(stub.Service(dialect=stub.DIALECTS["azure-v1"])) as running:
        provider.submit(provider.plan(spec_for(tmp_path, running.port, "v1")), key="ft-1")
    assert len(identity.asked) == 1


def test_a_token_near_its_end_is_renewed(identity: entra.Identity, provider: AzureProvider, tmp_path: Path) -> None:
    identity.lives_s = 5
    with stub.serving(stub.Service(dialect=stub.DIALECTS["azure-v1"])) as running:
        ref = provider.submit(provider.plan(spec_for(tmp_path, running.port, "v1")), key="ft-1")
        before = len(identity.asked)
        provider.poll(ref)
    assert len(identity.asked) > before


def test_another_scope_is_asked_for_where_the_options_say_so(
    identity: entra.Identity, provider: AzureProvider, tmp_path: Path
) -> None:
    scope = "https://cognitiveservices.azure.com/.default"
    with stub.serving(stub.Service(dialect=stub.DIALECTS["azure-v1"])) as running:
        provider.submit(provider.plan(spec_for(tmp_path, running.port, "v1", scope=scope)), key="ft-1")
    assert set(identity.asked) == {"https://cognitiveservices.azure.com"}


def test_a_deployment_is_made_with_a_token_for_resource_management(
    identity: entra.Identity, provider: AzureProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    arm = Arm()
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://acct.openai.azure.com")
    monkeypatch.setenv("AZURE_SUBSCRIPTION_ID", "sub")
    monkeypatch.setenv("AZURE_RESOURCE_GROUP", "rg")
    with serving_arm(arm) as url:
        monkeypatch.setenv("AZURE_ARM_URL", url)
        provider.deploy(Artifact(kind="hosted", uri="gpt-4.1.ft-0123456789abcdef0123456789abcdef"), name="support")
        assert [one.model for one in provider.deployments()] == ["support"]
    assert set(identity.asked) == {MANAGEMENT}


def test_without_an_identity_the_error_says_how_to_sign_in_and_nothing_was_sent(
    identity: entra.Identity, provider: AzureProvider, tmp_path: Path
) -> None:
    identity.refuses = True
    service = stub.Service(dialect=stub.DIALECTS["azure-v1"])
    with stub.serving(service) as running, pytest.raises(AuthFailed, match="az login") as caught:
        provider.submit(provider.plan(spec_for(tmp_path, running.port, "v1")), key="ft-1")
    assert (caught.value.sent, service.requests) == (False, [])


def test_no_token_is_in_a_log_a_file_or_a_traceback(
    identity: entra.Identity, provider: AzureProvider, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said = ""
    with caplog.at_level(logging.DEBUG), stub.serving(stub.Service(dialect=stub.DIALECTS["azure-v1"])) as running:
        ref = provider.submit(provider.plan(spec_for(tmp_path, running.port, "v1")), key="ft-1")
        running.service.failures.append("auth")
        with pytest.raises(AuthFailed) as caught:
            provider.poll(ref)
        said = "".join(traceback.format_exception(caught.value))
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert identity.asked != []
    assert (stub.KEY in said + caplog.text + repr(vars(provider)), stub.KEY.encode() in kept) == (False, False)


# --- what else only Azure has


def test_a_checkpoint_is_copied_to_another_account_and_looked_at(
    identity: entra.Identity, provider: AzureProvider, tmp_path: Path
) -> None:
    assert identity.asked == []
    with stub.serving(stub.Service(dialect=stub.DIALECTS["azure-v1"])) as running:
        ref = provider.submit(provider.plan(spec_for(tmp_path, running.port, "v1")), key="ft-1")
        provider.copy_checkpoint(ref, "ftchkpt-1", destination="/subscriptions/other/x", region="westus3")
        assert provider.checkpoint_copy(ref, "ftchkpt-1")["status"] == "Completed"
        assert running.service.violations == []
    assert running.service.copies["ftchkpt-1"] == {
        "destinationResourceId": "/subscriptions/other/x",
        "region": "westus3",
    }
