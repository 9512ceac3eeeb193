# pyright: basic
"""Base models by their names on the Hub, through the gateway: tuned, and chatted with beside the tuned one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import peft_jobs
import pytest
import served_models
from gateway_kit import Gateway, gateway
from wire import hub_routes
from wire.hub import TOKEN, Hub, Repo

from finetune_sdk.deploy import local

NAME = "alice/tiny"
METHOD = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 1, "batch_size": 4}}}
PEFT = {"routes": [{"provider": "peft"}], "models": {"gpt-4.1-mini": NAME}}


@pytest.fixture
def hub(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with one model, and a cache that is empty."""
    models = served_models.once(tmp_path_factory.getbasetemp())
    with hub_routes.serving(tmp_path / "hub") as served:
        repo = served.repos["model", NAME] = Repo("model", NAME, private=False)
        repo.commit({file.name: file.read_bytes() for file in (models / "base").iterdir() if file.is_file()})
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield served


@pytest.fixture
def served(hub: Hub, tmp_path: Path) -> Iterator[Gateway]:
    """A gateway over peft."""
    home = tmp_path / "home"
    with gateway(home, **PEFT) as found:
        yield found
        for one in local.deployments(home):
            local.remove(home, one.id)


def _chat(served: Gateway, model: str) -> dict:
    body = {"model": model, "messages": [{"role": "user", "content": "I smile"}], "max_tokens": 4, "temperature": 0}
    answer = served.client.post("/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_base_model_of_the_hub_answers_before_anything_is_tuned_and_beside_what_is(
    served: Gateway, tmp_path: Path
) -> None:
    before = _chat(served, "gpt-4.1-mini")
    file = served.upload(peft_jobs.write(tmp_path / "train.jsonl", peft_jobs.rows(12)))
    job = served.until(served.create(file, model="gpt-4.1-mini", method=METHOD)["id"], "succeeded", "failed")
    assert job["status"] == "succeeded", job["error"]
    tuned, after, theirs = _chat(served, job["fine_tuned_model"]), _chat(served, "gpt-4.1-mini"), _chat(served, NAME)

    assert (before["model"], tuned["model"], theirs["model"]) == ("gpt-4.1-mini", job["fine_tuned_model"], NAME)
    assert before["choices"] == after["choices"] == theirs["choices"]


def test_no_more_base_models_get_a_server_than_the_configuration_allows(tmp_path: Path) -> None:
    body = {"model": NAME, "messages": [{"role": "user", "content": "hi"}]}
    with gateway(tmp_path / "home", base_servers=0, **PEFT) as found:
        refused = found.client.post("/chat/completions", json=body)

    assert (refused.status_code, found.error(refused)["code"]) == (404, "model_not_served")
    assert "base_servers" in refused.json()["error"]["message"]


def test_a_base_model_that_the_hub_does_not_know_is_not_found(served: Gateway) -> None:
    body = {"model": "alice/other", "messages": [{"role": "user", "content": "hi"}]}
    answer = served.client.post("/chat/completions", json=body)

    assert (answer.status_code, served.error(answer)["code"]) == (404, "model_not_found")
    assert local.deployments(served.home) == []


def test_a_hub_that_is_down_is_worth_another_try(served: Gateway, hub: Hub) -> None:
    hub.down = True
    body = {"model": NAME, "messages": [{"role": "user", "content": "hi"}]}
    answer = served.client.post("/chat/completions", json=body)

    assert (answer.status_code, answer.headers["x-should-retry"]) == (502, "true")
    assert local.deployments(served.home) == []
