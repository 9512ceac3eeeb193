# pyright: basic
"""Models named as on the Hub: fetched by the real client from a hub on loopback, served, and not fetched twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import served_models
from wire import hub_routes
from wire.hub import TOKEN, Hub, Repo

from finetune_sdk.deploy import fetching, local
from finetune_sdk.deploy.asked import Serving
from finetune_sdk.deploy.handle import Deployed
from finetune_sdk.errors import SpecError, Unreachable
from finetune_sdk.types import Artifact

NAME = "alice/tiny"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return served_models.once(tmp_path_factory.getbasetemp())


@pytest.fixture
def hub(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with one model, and a cache that is empty."""
    with hub_routes.serving(tmp_path / "hub") as served:
        repo = served.repos["model", NAME] = Repo("model", NAME, private=False)
        repo.commit({file.name: file.read_bytes() for file in (models / "base").iterdir() if file.is_file()})
        repo.commits[-1][1]["pytorch_model.bin"] = b"pickled"
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield served


def test_a_model_of_the_hub_is_fetched_without_pickled_weights(hub: Hub, tmp_path: Path) -> None:
    place = fetching.folder(tmp_path, NAME)

    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {file.name for file in place.iterdir()}
    assert not (place / "pytorch_model.bin").exists()


def test_a_base_named_by_the_hub_answers_below_its_adapter_and_by_itself(
    hub: Hub, models: Path, tmp_path: Path
) -> None:
    adapter = Artifact(kind="adapter", uri=str(models / "loud"), base_model=NAME)
    serving = Serving(threads=1)
    try:
        tuned = Deployed.of(local.deploy(tmp_path, adapter, name="loud", serving=serving), tmp_path)
        alone = Deployed.of(local.deploy(tmp_path, fetching.named(NAME), name=NAME, serving=serving), tmp_path)
        hub.down = True
        again = local.deploy(tmp_path, fetching.named(NAME), name=NAME)

        below = tuned.chat("I smile", model="base", temperature=0, max_tokens=6)
        assert alone.chat("I smile", temperature=0, max_tokens=6) == below
        assert tuned.chat("I smile", temperature=0, max_tokens=6) != below
        assert replace(again, status="ready") == alone
    finally:
        for name in ("loud", NAME):
            local.remove(tmp_path, name)


def test_a_model_that_was_fetched_is_served_without_a_network(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = fetching.folder(tmp_path, NAME)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    assert fetching.folder(tmp_path, NAME) == place


def test_without_a_network_it_is_said_how_to_bring_the_model(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    with pytest.raises(Unreachable, match=r"alice/tiny is not in the cache .* hf download alice/tiny"):
        fetching.folder(tmp_path, NAME)


def test_a_name_that_the_hub_does_not_know_is_told(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"no model 'alice/other' on the Hub"):
        local.deploy(tmp_path, fetching.named("alice/other"), name="x")

    assert local.deployments(tmp_path) == []


@pytest.mark.parametrize(
    ("source", "on_the_hub"),
    [("alice/tiny", True), ("alice/tiny@main", True), ("builtin/tiny", False), ("./alice", False)],
)
def test_a_name_on_the_hub_is_told_from_a_folder(source: str, on_the_hub: bool) -> None:
    assert fetching.is_hub_name(source) is on_the_hub


def test_a_folder_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "alice" / "tiny").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)

    assert not fetching.is_hub_name(NAME)
