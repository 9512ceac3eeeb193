"""Our reading beside TRL's and `datasets`' own, on what all of us understand."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from finetune_sdk.data import Dataset
from finetune_sdk.data.convert import convert
from finetune_sdk.data.example import Message, PreferenceExample

SHARED = Path(__file__).parents[4] / "shared" / "data"
WORDS = ("user", "assistant")


def said(*texts: str, role: str = "role", content: str = "content") -> list[dict[str, str]]:
    return [{role: WORDS[index % 2], content: text} for index, text in enumerate(texts)]


def library(name: str) -> Any:
    return pytest.importorskip(name, reason=f"compares with {name}")


def written(folder: Path, rows: list[dict[str, Any]]) -> Dataset:
    path = folder / "t.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Dataset.open(path)


def plain(messages: list[Message]) -> list[dict[str, Any]]:
    return [{"role": message.role, "content": message.content} for message in messages]


SHAREGPT = [
    {"conversations": said("hello", "hi", "and é \u2028 😀", "fine", role="from", content="value")},
    {"conversations": [{"from": "system", "value": "be"}, *said("a", "b", role="from", content="value")]},
]


def test_sharegpt_becomes_the_messages_trl_makes_of_it(tmp_path: Path) -> None:
    theirs = library("trl.data_utils")
    convert(written(tmp_path, SHAREGPT), tmp_path / "out.jsonl", to="chat")
    ours = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().split("\n") if line]
    assert ours == [theirs.maybe_convert_to_chatml(copy.deepcopy(row)) for row in SHAREGPT]


PAIRS = [
    {"chosen": said("q", "good"), "rejected": said("q", "bad")},
    {"chosen": said("q", "a", "r", "good"), "rejected": said("q", "a", "r", "bad")},
]


def test_a_prompt_inside_the_answers_is_found_where_trl_finds_it(tmp_path: Path) -> None:
    theirs = library("trl.data_utils")
    for example, row in zip(written(tmp_path, PAIRS), PAIRS, strict=True):
        assert isinstance(example, PreferenceExample)
        ours = {name: plain(getattr(example, name)) for name in ("prompt", "chosen", "rejected")}
        assert ours == theirs.maybe_extract_prompt(row)


def test_pairs_are_unpaired_into_the_rows_trl_makes_of_them(tmp_path: Path) -> None:
    theirs, datasets = library("trl.data_utils"), library("datasets")
    rows = [{"prompt": said("q"), **{side: said("", text)[1:] for side, text in zip(SIDES, "ab", strict=True)}}]
    convert(written(tmp_path, rows), tmp_path / "out.jsonl", to="unpaired")
    ours = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    unpaired: list[dict[str, Any]] = theirs.unpair_preference_dataset(datasets.Dataset.from_list(rows)).to_list()
    assert sorted(ours, key=str) == sorted(unpaired, key=str)


SIDES = ("chosen", "rejected")

FILES = {
    "sft_alpaca_en.json": "json",
    "dpo_sharegpt_en.json": "json",
    "text_c4.jsonl": "json",
    "classify_symptoms.csv": "csv",
}


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real files lie beside the project, not in it")
@pytest.mark.parametrize(("name", "kind"), FILES.items(), ids=FILES.keys())
def test_real_files_hold_the_rows_that_datasets_reads(tmp_path: Path, name: str, kind: str) -> None:
    datasets = library("datasets")
    theirs = datasets.load_dataset(kind, data_files=str(SHARED / name), split="train", cache_dir=str(tmp_path))
    ours = list(Dataset.open(SHARED / name).rows())
    wanted: list[dict[str, Any]] = theirs.to_list()
    assert ours == [{key: row[key] for key in ours[0]} for row in wanted]
