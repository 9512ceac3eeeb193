"""A disk that fills up while the trained model is written: one sentence with place, room and remedy."""

from __future__ import annotations

import errno
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import peft_inside
import peft_worker
import pytest

CHECKPOINTS = ("checkpoint-4", "checkpoint-8")


def _save(folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Save artifacts with a writer that fails half-way, on a disk with 4,096 bytes left."""
    artifacts, merging, card = (peft_worker.module(name) for name in ("artifacts", "merging", "card"))

    def fails(_job: Any, _model: Any, root: Path) -> list[str]:
        (root / "merged").mkdir()
        (root / "merged" / "model.safetensors").write_bytes(b"half")
        raise error

    def nearly_full(_path: Path) -> SimpleNamespace:
        return SimpleNamespace(free=4096)

    def no_card(_ctx: Any, **_known: Any) -> str:
        return ""

    monkeypatch.setattr(merging, "write", fails)
    monkeypatch.setattr(card, "text", no_card)
    monkeypatch.setattr(peft_worker.module("disk").shutil, "disk_usage", nearly_full)
    for name in CHECKPOINTS:
        (folder / "checkpoints" / name).mkdir(parents=True)
    ctx = peft_inside.Context(dir=folder, request={})
    artifacts.save(SimpleNamespace(ctx=ctx, tokenizer=None, source=""), None, metrics={}, settled={})


def _errors() -> list[Exception]:
    from safetensors import SafetensorError  # noqa: PLC0415 - loads a library

    return [
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("[enforce fail at inline_container.cc:664] . PytorchStreamWriter failed writing file data.pkl"),
    ]


@pytest.mark.parametrize("number", range(3), ids=["safetensors", "Python", "torch"])
def test_a_full_disk_is_told_with_place_room_and_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    with pytest.raises(peft_inside.Failed) as failed:
        _save(tmp_path, monkeypatch, _errors()[number])

    assert str(failed.value) == (
        f"the trained model could not be written to {tmp_path}: the disk is full (4,096 bytes were free); "
        "kept: checkpoint-4, checkpoint-8. Free some space, then resume the job."
    )


def test_what_was_written_half_gives_its_room_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(peft_inside.Failed):
        _save(tmp_path, monkeypatch, _errors()[0])

    assert not (tmp_path / "artifacts.part").exists()


def test_an_error_of_another_kind_stays_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        _save(tmp_path, monkeypatch, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
