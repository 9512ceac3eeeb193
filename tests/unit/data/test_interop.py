"""A dataset goes to other libraries' tables and comes back the same."""

# pyright: basic
# the libraries come without complete types
from __future__ import annotations

import gc
import json
import sys
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import polars as pl
import pyarrow
import pytest

from finetune_sdk.data import Dataset
from finetune_sdk.data.convert import convert
from finetune_sdk.errors import DataError

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":  1}'}}
ROWS: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": "ü 🙂"}, {"role": "assistant", "content": "b"}]},
    {
        "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": None, "tool_calls": [CALL]}],
        "tools": [TOOL],
        "topic": "x",
    },
    {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "c", "weight": 0}]},
]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return Dataset.open(path)


def meaning(example: Any) -> object:
    turns = [(turn.role, turn.text, turn.tool_calls, turn.weight) for turn in example.messages]
    return turns, example.tools


@pytest.mark.parametrize("name", ["to_arrow", "to_polars", "to_hf"])
def test_a_table_holds_what_only_later_rows_have(dataset: Dataset, name: str) -> None:
    table = getattr(dataset, name)()
    assert {"messages", "tools", "topic"} == set(getattr(table, "column_names", None) or table.columns)


@pytest.mark.parametrize("name", ["to_arrow", "to_pandas", "to_polars", "to_hf"])
def test_a_table_opens_as_rows_that_mean_the_same(dataset: Dataset, name: str) -> None:
    """Only the difference between null and absent content is not in a table."""
    back = list(Dataset.open(getattr(dataset, name)()))
    for given, found in zip(dataset, back, strict=True):
        assert meaning(given) == meaning(found)


def test_parquet_output_keeps_columns_and_keys_that_only_later_rows_have(dataset: Dataset, tmp_path: Path) -> None:
    convert(dataset, tmp_path / "out.parquet", to="chat")
    found: Any = list(Dataset.open(tmp_path / "out.parquet"))
    assert (found[1].tools, found[1].messages[1].tool_calls[0].function.arguments, found[2].messages[1].weight) == (
        [TOOL],
        '{"a":  1}',
        0,
    )


def test_rows_in_another_format_are_refused_where_that_would_lose(dataset: Dataset) -> None:
    with pytest.raises(DataError, match=r"train\.jsonl:2: .*alpaca"):
        list(dataset.rows("alpaca"))


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame({"text": ["a", "b"], "label": ["x", "y"]}),
        pl.DataFrame({"text": ["a", "b"], "label": ["x", "y"]}),
        pl.LazyFrame({"text": ["a", "b"], "label": ["x", "y"]}),
        pyarrow.table({"text": ["a", "b"], "label": ["x", "y"]}),
        datasets.Dataset.from_dict({"text": ["z", "b", "a"], "label": ["x", "y", "x"]}).select([2, 1]),
    ],
    ids=["pandas", "polars", "polars-lazy", "pyarrow", "datasets"],
)
def test_a_table_of_any_library_is_a_dataset(table: Any) -> None:
    found: Any = list(Dataset.open(table))
    assert [(row.text, row.label) for row in found] == [("a", "x"), ("b", "y")]


def test_numbered_labels_of_datasets_get_their_words() -> None:
    features = datasets.Features(text=datasets.Value("string"), label=datasets.ClassLabel(names=["no", "yes"]))
    found: Any = list(Dataset.open(datasets.Dataset.from_dict({"text": ["a"], "label": [1]}, features=features)))
    assert found[0].label == "yes"


def test_a_dictionary_of_splits_asks_for_one() -> None:
    splits: Any = datasets.DatasetDict({"train": datasets.Dataset.from_dict({"text": ["a"]})})
    with pytest.raises(DataError, match=r"several splits \(train\)"):
        Dataset.open(splits)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"text": ["a"]}, "this dict names no file: a table as a dictionary of columns is none"),
        (5, "this int names no file"),
        (None, "this NoneType names no file"),
        (b"rows.jsonl", "this bytes names no file"),
        (iter([{"text": "a"}]), r"are for `Dataset\.from_rows`"),
        ([{"text": "a"}, 5], "row 2: a row must be a dictionary, this is int"),
        (pd.Series(["a"]), "one column, not a table"),
        (pl.Series(["a"]), "one column, not a table"),
        (pd.DataFrame({"text": ["a", 5]}), "this table cannot be read: .*column text"),
        ("", "an empty name names no file"),
    ],
)
def test_what_is_neither_paths_nor_rows_is_refused_with_what_to_give(source: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        Dataset.open(source)


def test_rows_may_be_a_tuple_and_a_batch() -> None:
    batch: Any = pyarrow.record_batch({"text": ["a"]})

    assert [list(Dataset.open(source).rows()) for source in (({"text": "a"},), batch)] == [[{"text": "a"}]] * 2


def test_a_table_with_two_columns_of_one_name_is_refused() -> None:
    table: Any = pyarrow.table([pyarrow.array(["a"]), pyarrow.array(["b"])], names=["text", "text"])

    with pytest.raises(DataError, match="two columns are called 'text'"):
        list(Dataset.open(table))


def test_rows_from_a_generator_are_read_as_often_as_wanted() -> None:
    dataset = Dataset.from_rows(row for row in ROWS)
    assert list(dataset) == list(dataset)


def test_the_copy_of_rows_goes_with_the_dataset() -> None:
    dataset = Dataset.from_rows(ROWS)
    [copy] = dataset.files
    assert copy.exists()
    del dataset
    gc.collect()
    assert not copy.parent.exists()


@pytest.mark.parametrize(("value", "words"), [(float("nan"), "row 2.*not JSON"), ({1}, "row 2.*set")])
def test_a_row_that_is_no_json_is_named(value: object, words: str) -> None:
    rows = [{"text": "a"}, {"text": "b", "extra": value}]
    with pytest.raises(DataError, match=words):
        Dataset.from_rows(rows)


def test_a_missing_library_is_named_with_the_command_that_installs_it(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(DataError, match=r"needs polars: `pip install polars`"):
        dataset.to_polars()


def test_rows_of_mixed_types_do_not_fit_a_table(tmp_path: Path) -> None:
    rows = [{"text": "a", "n": 1}, {"text": "b", "n": "x"}]
    with pytest.raises(DataError, match="do not fit a table"):
        Dataset.from_rows(rows).to_arrow()


def test_the_length_is_known_after_a_whole_pass(dataset: Dataset) -> None:
    with pytest.raises(TypeError, match="after a whole pass"):
        len(dataset)
    list(dataset)
    assert len(dataset) == 3


def test_a_list_of_dictionaries_is_a_dataset() -> None:
    assert [example.source.line for example in Dataset.open([{"text": "a"}, {"text": "b"}]) if example.source] == [1, 2]


def test_a_dataset_shows_its_files_and_what_is_known_of_them(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}\n')
    dataset = Dataset.open([path, path])
    before = repr(dataset)
    assert dataset.detection[0].format == "text"
    assert (before, repr(dataset)) == (f"<Dataset {path} and 1 more>", f"<Dataset {path} and 1 more, text>")


def test_no_files_at_all_are_refused() -> None:
    with pytest.raises(DataError, match="no file was given"):
        Dataset.open([])
