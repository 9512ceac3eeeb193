"""Detection does not depend on the order of rows or keys; arbitrary bytes are data or an error of ours, no crash."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from finetune_sdk.data import Dataset
from finetune_sdk.data.report import Report
from finetune_sdk.data.tools.check import check
from finetune_sdk.errors import DataError
from tests.unit.data.bad_inputs import CASES

LAX = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=(HealthCheck.too_slow,))
USER = {"role": "user", "content": "q"}
ANSWER = {"role": "assistant", "content": "a"}
OTHER = {"role": "assistant", "content": "b"}
TURNS = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]

ROWS: dict[str, dict[str, Any]] = {
    "alpaca": {"instruction": "i", "input": "x", "output": "o", "system": "s"},
    "alpaca-preference": {"instruction": "i", "input": "", "chosen": "a", "rejected": "b"},
    "alpaca-unpaired": {"instruction": "i", "input": "", "output": "o", "kto_tag": True},
    "anthropic": {"system": "s", "messages": [USER, ANSWER]},
    "bedrock-converse": {
        "schemaVersion": "bedrock-conversation-2024",
        "messages": [{"role": "user", "content": [{"text": "q"}]}, {"role": "assistant", "content": [{"text": "a"}]}],
    },
    "chat": {"messages": [USER, ANSWER], "tools": []},
    "chatml": {"text": "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n"},
    "cohere": {"messages": [{"role": "User", "content": "q"}, {"role": "Chatbot", "content": "a"}]},
    "embedding": {"anchor": "a", "positive": "b", "negative": "c"},
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "q"}]}, {"role": "model", "parts": [{"text": "a"}]}]},
    "labelled": {"text": "t", "label": "x"},
    "messages-unpaired": {"messages": [USER, ANSWER], "label": False},
    "openai-preference": {
        "input": {"messages": [USER]},
        "preferred_output": [ANSWER],
        "non_preferred_output": [OTHER],
    },
    "openai-rft": {"messages": [USER], "answer": 4},
    "preference": {"prompt": "q", "chosen": "a", "rejected": "b"},
    "prompt": {"prompt": "q"},
    "prompt-completion": {"prompt": "q", "completion": "a"},
    "extractive-qa": {"context": "c", "question": "q", "answers": {"text": ["a"], "answer_start": [0]}},
    "glaive": {"system": "SYSTEM: s", "chat": "USER: q\n\n\nASSISTANT: a <|endoftext|>"},
    "hh": {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"},
    "query-calls": {"query": "q", "tools": "[]", "answers": '[{"name": "f", "arguments": {}}]'},
    "turns": {"conversations": ["q", "a"]},
    "segments": {"segments": [{"label": False, "text": "q"}, {"label": True, "text": "a"}]},
    "sharegpt": {"conversations": TURNS, "tools": "[]"},
    "sharegpt-preference": {"conversations": TURNS[:1], "chosen": TURNS[1], "rejected": {"from": "gpt", "value": "b"}},
    "sharegpt-unpaired": {"conversations": TURNS, "kto_tag": True},
    "stepwise": {"prompt": "q", "completions": ["a"], "labels": [True]},
    "text": {"text": "t"},
    "trl-chat": {
        "messages": [
            USER,
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]},
        ]
    },
    "unpaired": {"prompt": "q", "completion": "a", "label": True},
    "vertex-preference": {
        "contents": [{"role": "user", "parts": [{"text": "q"}]}],
        "completions": [
            {"score": 1, "completion": {"role": "model", "parts": [{"text": "a"}]}},
            {"score": 0, "completion": {"role": "model", "parts": [{"text": "b"}]}},
        ],
    },
}
"""A row of each format."""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def shuffled(row: Any, order: random.Random) -> Any:
    """The same JSON, its keys in another order."""
    if isinstance(row, dict):
        keys: list[str] = list(row)  # pyright: ignore[reportUnknownArgumentType]
        order.shuffle(keys)
        return {key: shuffled(row[key], order) for key in keys}
    return [shuffled(inner, order) for inner in row] if isinstance(row, list) else row  # pyright: ignore[reportUnknownVariableType]


def detected(path: Path, rows: list[Any]) -> str:
    path.write_text("\n".join(map(json.dumps, rows)))
    return Dataset.open(path).detection[0].format


@pytest.mark.parametrize("name", ROWS)
@given(seed=st.integers(0, 2**32), extra=st.sampled_from([{}, {"id": 3}, {"meta": {"a": [1]}, "lang": "en"}]))
@LAX
def test_the_order_of_keys_and_other_keys_change_no_detection(
    folder: Path, name: str, seed: int, extra: dict[str, Any]
) -> None:
    if name in ("openai-rft", "prompt"):
        extra = {}  # further keys are the grader's there
    row = shuffled({**ROWS[name], **extra}, random.Random(seed))
    assert detected(folder / "t.jsonl", [row]) == name


@given(
    names=st.lists(st.sampled_from(sorted(ROWS)), min_size=2, max_size=2, unique=True),
    share=st.integers(6, 9),
    seed=st.integers(0, 2**32),
)
@LAX
def test_the_order_of_rows_changes_no_detection(folder: Path, names: list[str], share: int, seed: int) -> None:
    rows = [ROWS[names[0]]] * share + [ROWS[names[1]]] * (10 - share)
    answers: set[str] = set()
    for attempt in range(3):
        random.Random(seed + attempt).shuffle(rows)
        try:
            answers.add(detected(folder / "t.jsonl", rows))
        except DataError as error:
            answers.add(str(error).split(": ", 1)[1])
    assert len(answers) == 1


SUFFIXES = ("", ".jsonl", ".json", ".csv", ".tsv", ".txt", ".parquet", ".arrow", ".xlsx", ".gz", ".zst", ".zip")


@given(data=st.binary(max_size=300), suffix=st.sampled_from(SUFFIXES))
@example(data=b"\xff\xff\xff\xff\x00", suffix=".arrow")
@example(data=b"PK\x05\x06", suffix=".xlsx")
@settings(LAX, max_examples=200)
def test_arbitrary_bytes_are_rows_or_findings(folder: Path, data: bytes, suffix: str) -> None:
    path = folder / f"any{suffix}"
    path.write_bytes(data)
    found = check(Dataset.open(path))
    assert found.rows or found.errors


@given(
    name=st.sampled_from(sorted(name for name, case in CASES.items() if len(case.data) < 20_000)),
    at=st.integers(0, 10_000),
    byte=st.integers(0, 255),
)
@settings(LAX, max_examples=150)
def test_a_changed_byte_in_a_bad_input_crashes_nothing(folder: Path, name: str, at: int, byte: int) -> None:
    case = CASES[name]
    data = bytearray(case.data)
    if data:
        data[at % len(data)] = byte
    path = folder / case.name
    path.write_bytes(data)
    report = Report()
    rows = sum(1 for _ in Dataset.open(path).scan(report))
    assert rows or report.errors
