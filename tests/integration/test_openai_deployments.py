"""Tuned models at OpenAI, which answer at once: listed, looked up, deleted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from finetune_providers.openai.provider import OpenAIProvider
from wire import stub
from wire.helpers import job_spec

from finetune_sdk.errors import Unsupported


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[stub.Running]:
    monkeypatch.setenv("OPENAI_API_KEY", stub.KEY)
    with stub.serving(stub.Service(script=("queued", "succeeded"))) as running:
        monkeypatch.setenv("OPENAI_BASE_URL", running.url)
        yield running
        assert running.service.violations == []


@pytest.fixture
def provider(tmp_path: Path) -> OpenAIProvider:
    return OpenAIProvider(home=tmp_path / "home")


@pytest.fixture
def model(service: stub.Running, provider: OpenAIProvider, tmp_path: Path) -> str:
    """A tuned model at the service."""
    spec = job_spec(tmp_path, service.url, options={"server": "openai"})
    ref = provider.submit(provider.plan(spec), key="ft-1")
    provider.poll(ref)
    return str(provider.poll(ref).model)


@pytest.mark.usefixtures("service")
def test_the_tuned_models_are_listed_and_the_base_models_are_not(
    provider: OpenAIProvider, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OpenAIProvider, "wires", {**OpenAIProvider.wires, "compatible": OpenAIProvider.wires["openai"]})
    (found,) = provider.deployments()
    assert (found.model, found.status, found.api_key_env) == (model, "ready", "OPENAI_API_KEY")


def test_the_id_of_a_deployment_leads_to_it_from_anywhere(
    service: stub.Running, provider: OpenAIProvider, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = next(one for one in provider.deployments() if one.model == model)
    monkeypatch.delenv("OPENAI_BASE_URL")
    assert provider.deployment(found.id).base_url == service.url


def test_a_deleted_model_is_stopped_and_deleting_it_again_is_no_error(provider: OpenAIProvider, model: str) -> None:
    found = next(one for one in provider.deployments() if one.model == model)
    assert "for good" in provider.undeploy_terms(found.id)
    provider.undeploy(found.id)
    provider.undeploy(found.id)
    assert provider.deployment(found.id).status == "stopped"


@pytest.mark.usefixtures("service")
def test_a_base_model_is_never_deleted(provider: OpenAIProvider) -> None:
    with pytest.raises(Unsupported, match="ft:"):
        provider.undeploy("gpt-4o")
