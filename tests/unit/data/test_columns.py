"""Columns by other names, and columns made of several."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune_sdk.data import Dataset
from finetune_sdk.data.example import ChatExample, LabelledExample
from finetune_sdk.errors import DataError


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "train.csv"
    path.write_text("title,body,topic\nHello,How are {you}?,greeting\n")
    return path


def test_columns_are_renamed_and_decide_the_format(table: Path) -> None:
    (example,) = Dataset.open(table, columns={"text": "body", "label": "topic"})
    assert isinstance(example, LabelledExample)
    assert (example.text, example.label, example.extra) == ("How are {you}?", "greeting", {"title": "Hello"})


def test_a_template_joins_columns_and_leaves_braces_in_the_data_alone(table: Path) -> None:
    (example,) = Dataset.open(table, columns={"prompt": "# {title}\n{body}", "completion": "topic"})
    assert isinstance(example, ChatExample)
    assert example.messages[0].text == "# Hello\nHow are {you}?"


@pytest.mark.parametrize("template", ["{title.__class__}", "{title[0]}", "{}", "{title"])
def test_a_template_reaches_no_further_than_columns(table: Path, template: str) -> None:
    with pytest.raises(DataError, match=r"column name|bad template"):
        list(Dataset.open(table, columns={"prompt": template, "completion": "topic"}))


def test_a_template_with_an_unknown_column_names_the_nearest(table: Path) -> None:
    with pytest.raises(DataError, match="Did you mean 'title'"):
        list(Dataset.open(table, columns={"prompt": "{titel}", "completion": "topic"}))
