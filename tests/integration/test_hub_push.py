# pyright: basic
"""Pushing to a hub on loopback through the real huggingface_hub client."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import served_models
from wire import hub_routes
from wire.hub import TOKEN, Fault, Hub, Repo

from finetune_sdk.deploy.export import Exported, ExportFailed, export
from finetune_sdk.errors import SpecError

REPO = "alice/loud"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return served_models.once(tmp_path_factory.getbasetemp())


@pytest.fixture
def adapter(models: Path, tmp_path: Path) -> Path:
    """An adapter with what training leaves beside it."""
    place = tmp_path / "adapter"
    shutil.copytree(models / "loud", place)
    (place / "training_args.bin").write_bytes(b"pickled")
    return place


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_routes.serving(tmp_path / "hub") as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
        yield served


def push(home: Path, source: Path, **options: Any) -> Exported:
    given: dict[str, Any] = {"repo": REPO, "as_adapter": True, "base": "alice/base", **options}
    return export(home, source, to="hub", **given)


def test_a_merged_model_is_compared_and_pushed_privately_with_its_card(hub: Hub, models: Path, tmp_path: Path) -> None:
    done = push(tmp_path, models / "loud", as_adapter=False, base=None)
    files = hub.files(REPO)
    card = files["README.md"].decode()

    assert done.revision == hub.repos["model", REPO].head
    assert hub.repos["model", REPO].private
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= set(files)
    assert "library_name: transformers" in card
    assert "6 of 6 prompts" in card
    assert not any(str(tmp_path.parent).encode() in content for content in files.values())


def test_an_adapter_is_pushed_without_pickles_and_names_a_base_that_others_find(
    hub: Hub, adapter: Path, tmp_path: Path
) -> None:
    push(tmp_path, adapter)
    files = hub.files(REPO)

    assert set(files) == {".gitattributes", "README.md", "adapter_config.json", "adapter_model.safetensors"}
    assert b'"base_model_name_or_path": "alice/base"' in files["adapter_config.json"]
    assert "base_model: alice/base" in files["README.md"].decode()


def test_pushing_the_same_again_makes_no_commit(hub: Hub, adapter: Path, tmp_path: Path) -> None:
    first, second = push(tmp_path, adapter), push(tmp_path, adapter)

    assert first.revision == second.revision
    assert len(hub.repos["model", REPO].commits) == 2  # the first is the repository's own


def test_a_repository_whose_creation_was_not_answered_is_found_again(hub: Hub, adapter: Path, tmp_path: Path) -> None:
    hub.faults.append(Fault("POST", "^/api/repos/create$", reaches=True, status=503))

    assert push(tmp_path, adapter).revision == hub.repos["model", REPO].head
    assert hub.posted("^/api/repos/create$") == 1


def test_a_card_with_a_key_in_it_is_not_pushed(hub: Hub, adapter: Path, tmp_path: Path) -> None:
    (adapter / "README.md").write_text("# Ours\n\nuse hf_" + "abcdefghijklmnopqrstuvwx" + "\n")

    with pytest.raises(SpecError, match=r"README.md, line 3, holds a key"):
        push(tmp_path, adapter)

    assert hub.seen == []


def test_a_card_that_the_user_wrote_stays(hub: Hub, adapter: Path, tmp_path: Path) -> None:
    (adapter / "README.md").write_text("# Ours\n")
    push(tmp_path, adapter)

    assert hub.files(REPO)["README.md"] == b"# Ours\n"


def test_a_repository_that_everybody_sees_is_not_written_to_unasked(hub: Hub, adapter: Path, tmp_path: Path) -> None:
    repo = hub.repos["model", REPO] = Repo("model", REPO, private=False)
    repo.commit({"README.md": b""})

    with pytest.raises(ExportFailed, match="everybody can see it"):
        push(tmp_path, adapter)


def test_a_base_that_others_cannot_find_is_told(hub: Hub, adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportFailed, match="base is a folder of this machine"):
        push(tmp_path, adapter, base=None)


def test_a_refusal_of_the_hub_is_passed_on_in_words(hub: Hub, adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportFailed, match=r"403.*the token may not write there"):
        push(tmp_path, adapter, repo="nobody/loud")
