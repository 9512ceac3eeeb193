"""Model folders with a damaged file: refused at planning by name, and told in one sentence by the worker."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft_inside
import peft_jobs
import peft_worker
import pytest
from finetune_providers.peft.provider import PeftProvider

from finetune_sdk.errors import SpecError
from finetune_sdk.provider import Plan

INDEX = "model.safetensors.index.json"
Damage = Callable[[Path], None]


def _tensors(path: Path, *, bytes_: int = 16) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * bytes_)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_text("{}")
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    _tensors(folder / "model.safetensors")
    return folder


def _plan(tmp_path: Path, model: Path) -> Plan:
    train = peft_jobs.write(tmp_path / "train.jsonl", peft_jobs.rows(12))
    return PeftProvider(home=tmp_path / "home").plan(peft_jobs.spec(train, model=str(model)))


def _cut(folder: Path) -> None:
    _tensors(folder / "model.safetensors", bytes_=7)


def _empty(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")


def _half_a_header(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:30])


def _no_header(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"<!DOCTYPE html><html><body>Not found</body></html>")


def _pointer(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 16\n")


def _shard_cut(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    _tensors(folder / "model-2.safetensors", bytes_=3)
    (folder / INDEX).write_text(json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}))


def _shard_missing(folder: Path) -> None:
    _shard_cut(folder)
    (folder / "model-2.safetensors").unlink()


def _config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def _tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_bytes(b"\xff\xfe\x00garbage")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_cut, r"model\.safetensors is damaged: it is cut off, \d+ of \d+ bytes"),
        (_empty, r"model\.safetensors is damaged: its safetensors header is not whole \(0 bytes"),
        (_half_a_header, r"model\.safetensors is damaged: its safetensors header is not whole"),
        (_no_header, r"model\.safetensors is damaged: its safetensors header is not whole"),
        (_pointer, r"model\.safetensors is damaged: it is a Git LFS pointer.*git lfs pull"),
        (_shard_cut, r"model-2\.safetensors is damaged: it is cut off"),
        (_shard_missing, r"model-2\.safetensors is damaged: it is missing"),
        (_config, r"config\.json is damaged: it is no JSON"),
        (_tokenizer, r"tokenizer\.json is damaged: it is no JSON"),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_a_damaged_model_is_refused_at_planning_with_file_and_remedy(
    tmp_path: Path, model: Path, damage: Damage, words: str
) -> None:
    damage(model)

    with pytest.raises(SpecError, match=words) as refused:
        _plan(tmp_path, model)

    assert "again" in str(refused.value) or "git lfs pull" in str(refused.value)


def test_a_whole_model_is_taken_whatever_else_lies_beside_it(tmp_path: Path, model: Path) -> None:
    (model / "consolidated.safetensors").write_bytes(b"of another tool")

    assert _plan(tmp_path, model).errors == ()


def test_shards_without_a_single_file_are_taken(tmp_path: Path, model: Path) -> None:
    _shard_cut(model)
    _tensors(model / "model-2.safetensors")

    assert _plan(tmp_path, model).errors == ()


def _loaded(tmp_path: Path, folder: Path, name: str) -> Any:
    """What the worker's `model.<name>` does with the folder."""
    request = {"options": {"trust_remote_code": False, "revision": None, "local_files_only": True,
                           "attn_implementation": "auto", "chat_template": None}}  # fmt: skip
    ctx = peft_inside.Context(dir=tmp_path, request=request)
    choices = peft_worker.module("choices").Choices("cpu", "fp32", __import__("torch").float32, 1)
    more = (choices,) if name == "weights" else ()
    return getattr(peft_worker.module("model"), name)(ctx, str(folder), *more)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A real model, as a job makes it."""
    (tmp_path / "data").mkdir()
    rows = [{"kind": "chat", **row} for row in peft_jobs.rows(8)]
    data = peft_jobs.write(tmp_path / "data" / "train.jsonl", rows)
    made: Path = peft_worker.module("builtin").make(tmp_path / "base", data=data, seed=0)
    return made


@pytest.mark.parametrize(
    ("name", "file"),
    [("weights", "model.safetensors"), ("tokenizer", "tokenizer.json"), ("config", "config.json")],
)
def test_damage_that_happens_later_is_told_by_the_worker_in_one_sentence(
    tmp_path: Path, tiny: Path, name: str, file: str
) -> None:
    whole = (tiny / file).read_bytes()
    (tiny / file).write_bytes(whole[: len(whole) // 2])

    with pytest.raises(peft_inside.Failed) as failed:
        _loaded(tmp_path, tiny, name)

    assert f"{tiny / file} is damaged" in str(failed.value)
    assert "\n" not in str(failed.value)


def test_a_tokenizer_of_another_version_is_told_by_the_worker_too(tmp_path: Path, tiny: Path) -> None:
    (tiny / "tokenizer.json").write_text('{"version": "9.0", "model": {"type": "Unheard"}}')

    with pytest.raises(peft_inside.Failed, match="cannot load the tokenizer"):
        _loaded(tmp_path, tiny, "tokenizer")
