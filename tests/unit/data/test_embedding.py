"""Texts that belong together, and those that do not: all of them are read, whatever they are called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from finetune_sdk.data import Dataset
from finetune_sdk.data.example import EmbeddingExample
from finetune_sdk.data.jsonvalue import Object
from finetune_sdk.data.tools.texts import texts


def _read(folder: Path, row: Object) -> EmbeddingExample:
    (folder / "rows.jsonl").write_text(json.dumps(row) + "\n")
    example = next(iter(Dataset.open(folder / "rows.jsonl")))
    assert isinstance(example, EmbeddingExample)
    return example


@pytest.mark.parametrize(
    "negatives",
    [
        {"negative_1": "n1", "negative_2": "n2", "negative_10": "n10"},
        {"negative_10": "n10", "negative_1": "n1", "negative_2": "n2"},
        {"negative": "n1", "negative_2": "n2", "negative_3": "n10"},
        {"negatives": ["n1", "n2", "n10"]},
    ],
    ids=["numbered", "in another order", "one without a number", "listed"],
)
def test_all_negatives_are_negatives(tmp_path: Path, negatives: Object) -> None:
    example = _read(tmp_path, {"anchor": "a", "positive": "p", **negatives, "id": 7})
    assert (example.negative, example.negatives, example.extra) == ("n1", ["n2", "n10"], {"id": 7})


def test_the_negatives_of_a_list_are_negatives_and_its_other_positives_are_named(tmp_path: Path) -> None:
    example = _read(tmp_path, {"query": "q", "pos": ["p", "more"], "neg": ["n1", "n2"]})
    assert (example.positive, example.negative, example.negatives) == ("p", "n1", ["n2"])
    assert example.aside["more"] == ["more"]


def test_what_looks_into_texts_sees_every_negative(tmp_path: Path) -> None:
    example = _read(tmp_path, {"anchor": "a", "positive": "p", "negative_1": "n1", "negative_2": "n2"})
    assert [text for _, text in texts(example)] == ["a", "p", "n1", "n2"]


def test_a_score_that_a_table_holds_as_text_is_a_number(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("sentence1,sentence2,score\na,b,0.5\n")
    example = next(iter(Dataset.open(tmp_path / "rows.csv")))
    assert isinstance(example, EmbeddingExample)
    assert (example.score, example.extra) == (0.5, {})
