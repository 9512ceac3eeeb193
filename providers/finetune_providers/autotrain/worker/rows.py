# pyright: basic
"""Canonical rows -> the columns AutoTrain's trainers read, saved where its own preparation would put them."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import chat

Row = Mapping[str, Any]
Columns = dict[str, Any]


def read(path: Path) -> list[dict[str, Any]]:
    """The canonical rows of a file; none where there is no file."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def columns(task: str, rows: Sequence[Row], tokenizer: Any) -> Iterator[Columns]:
    """Each row as the task's columns; `tokenizer` renders conversations (None for tasks without them)."""
    make = _TASKS[task]
    for row in rows:
        yield make(row, tokenizer)


def _text(row: Row, tokenizer: Any) -> Columns:
    if row["kind"] == "text":
        return {"text": row["text"]}
    return {"text": chat.conversation(tokenizer, row)}


def _answers(row: Row, tokenizer: Any) -> Columns:
    prompt, chosen = chat.split(tokenizer, row["prompt"], row["chosen"])
    _, rejected = chat.split(tokenizer, row["prompt"], row["rejected"])
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def _scored(row: Row, tokenizer: Any) -> Columns:
    """A reward model reads whole conversations."""
    one = _answers(row, tokenizer)
    return {
        "prompt": one["prompt"],
        "chosen": one["prompt"] + one["chosen"],
        "rejected": one["prompt"] + one["rejected"],
    }


def _labelled(row: Row, _tokenizer: Any) -> Columns:
    return {"text": row["text"], "target": str(row["label"])}


def _number(row: Row, _tokenizer: Any) -> Columns:
    return {"text": row["text"], "target": float(row["label"])}


def _tagged(row: Row, _tokenizer: Any) -> Columns:
    return {"tokens": row["text"].split(" "), "tags": [str(tag) for tag in row["label"]]}


def _from_to(row: Row, _tokenizer: Any) -> Columns:
    *before, last = row["messages"]
    asked = "\n".join(chat.text_of(message) for message in before)
    return {"text": asked, "target": chat.text_of(last)}


def _embedded(*names: str) -> Callable[[Row, Any], Columns]:
    def make(row: Row, _tokenizer: Any) -> Columns:
        texts = (row["anchor"], row["positive"], row.get("negative"))
        return dict(zip(names, texts, strict=False))

    return make


def _pair(first: str, second: str, third: str, kind: Callable[[Any], Any]) -> Callable[[Row, Any], Columns]:
    def make(row: Row, _tokenizer: Any) -> Columns:
        return {first: row["text"], second: row["text_pair"], third: kind(row["label"])}

    return make


_TASKS: Mapping[str, Callable[[Row, Any], Columns]] = {
    "llm-sft": _text,
    "llm-generic": _text,
    "llm-dpo": _answers,
    "llm-orpo": _answers,
    "llm-reward": _scored,
    "text-classification": _labelled,
    "text-regression": _number,
    "token-classification": _tagged,
    "seq2seq": _from_to,
    "st:pair": _embedded("anchor", "positive"),
    "st:qa": _embedded("query", "answer"),
    "st:triplet": _embedded("anchor", "positive", "negative"),
    "st:pair_class": _pair("premise", "hypothesis", "label", str),
    "st:pair_score": _pair("sentence1", "sentence2", "score", float),
}
_CLASSES = {"text-classification": "target", "st:pair_class": "label"}
"""Tasks whose column becomes a ClassLabel."""


def save(task: str, splits: Mapping[str, list[Columns]], folder: Path, names: Sequence[str] | None) -> list[str]:
    """A dataset on disk as AutoTrain loads it; the label names in the order of their numbers."""
    datasets: Any = importlib.import_module("datasets")  # slow to import
    made = {name: datasets.Dataset.from_list(rows) for name, rows in splits.items()}
    found: list[str] = []
    if (column := _CLASSES.get(task)) is not None:
        found = list(names or sorted({row[column] for rows in splits.values() for row in rows}))
        made = {name: data.cast_column(column, datasets.ClassLabel(names=found)) for name, data in made.items()}
    if task == "token-classification":
        found = sorted({tag for rows in splits.values() for row in rows for tag in row["tags"]})
        made = {
            name: data.cast_column("tags", datasets.Sequence(datasets.ClassLabel(names=found)))
            for name, data in made.items()
        }
    datasets.DatasetDict(made).save_to_disk(str(folder))
    return found
