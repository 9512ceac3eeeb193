"""Tokens with a tag each: read, refused where they do not fit together, written back as they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from finetune_sdk.data import Dataset, prepare
from finetune_sdk.data.example import LabelledExample
from finetune_sdk.data.formats import format_named
from finetune_sdk.data.report import Report
from finetune_sdk.spec import DataSpec

ROW: dict[str, Any] = {"tokens": ["Ann", "saw", "Rome", "."], "tags": ["B-PER", "O", "B-LOC", "O"]}


def file(folder: Path, *rows: dict[str, Any]) -> str:
    path = folder / "tags.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def only(folder: Path, row: dict[str, Any]) -> LabelledExample:
    [example] = Dataset.open(file(folder, row)).scan(Report())
    assert isinstance(example, LabelledExample)
    return example


def test_tokens_become_a_text_and_tags_its_labels(tmp_path: Path) -> None:
    example = only(tmp_path, ROW)
    assert (example.text, example.label) == ("Ann saw Rome .", ["B-PER", "O", "B-LOC", "O"])


@pytest.mark.parametrize("row", [ROW, {"words": ["a", "b"], "ner_tags": [0, 1], "id": 7}])
def test_a_row_is_written_back_as_it_was(tmp_path: Path, row: dict[str, Any]) -> None:
    render = format_named("tagged").render
    assert render is not None
    assert render(only(tmp_path, row)) == row


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"tags": ["O"]}, "tags-count"),
        ({"tokens": ["New York", "saw", "Rome", "."]}, "token-space"),
        ({"tokens": ["", "saw", "Rome", "."]}, "token-space"),
        ({"tokens": [1, "saw", "Rome", "."]}, "field-type"),
        ({"tags": [None, "O", "O", "O"]}, "label-type"),
    ],
)
def test_what_does_not_fit_together_is_an_error_with_its_line(
    tmp_path: Path, change: dict[str, Any], rule: str
) -> None:
    prepared = prepare(DataSpec(train=file(tmp_path, ROW, {**ROW, **change})), method="classification")
    assert [(finding.rule, finding.line) for finding in prepared.errors] == [(rule, 2)]


def test_columns_of_other_names_are_mapped(tmp_path: Path) -> None:
    row = {"w": ROW["tokens"], "t": ROW["tags"]}
    data = DataSpec(train=file(tmp_path, row), columns={"tokens": "w", "tags": "t"})
    assert prepare(data, method="classification").errors == ()
