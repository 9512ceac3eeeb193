"""All ways of reading give up on nested rows at the same level."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune_sdk.data import Dataset
from finetune_sdk.data.report import Report
from finetune_sdk.data.straight import Block

PLAIN: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]}
SHARED: dict[str, Any] = {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "yes"}]}


def _nested(levels: int) -> Any:
    value: Any = "x"
    for level in range(levels):
        value = {"a": value} if level % 2 else [value]
    return value


def _call(value: Any) -> dict[str, Any]:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": {"k": value}}}
    return {
        "messages": [
            PLAIN["messages"][0],
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "a", "content": "1"},
            PLAIN["messages"][1],
        ]
    }


def _function_call(value: Any) -> dict[str, Any]:
    asked, said = SHARED["conversations"]
    call = {"from": "function_call", "value": json.dumps({"name": "f", "arguments": {"k": value}})}
    return {"conversations": [asked, call, {"from": "observation", "value": "1"}, said]}


def _tools(value: Any) -> dict[str, Any]:
    parameters: dict[str, Any] = {"type": "object", "properties": {}, "x": value}
    return {"tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": parameters}}]}


ROWS: dict[str, tuple[dict[str, Any], Callable[[Any], dict[str, Any]]]] = {
    "own-key": (PLAIN, lambda value: {**PLAIN, "x": value}),
    "arguments": (PLAIN, _call),
    "tools": (PLAIN, lambda value: {**PLAIN, **_tools(value)}),
    "sharegpt-own-key": (SHARED, lambda value: {**SHARED, "x": value}),
    "sharegpt-arguments": (SHARED, _function_call),
}


def _read(dataset: Dataset, way: str) -> tuple[int, list[str]]:
    report = Report()
    if way == "chat":
        found = [item for item, _ in dataset.scan_to_chat(report)]
        rows = sum(item.rows if isinstance(item, Block) else 1 for item in found)
    else:
        rows = sum(1 for _ in dataset.scan(report, fast=way == "fast"))
    return rows, [f"{finding.rule}:{finding.line}" for finding in report.findings()]


@pytest.mark.parametrize("place", ROWS)
def test_every_way_of_reading_gives_up_at_the_same_depth(place: str, tmp_path: Path) -> None:
    usual, made = ROWS[place]
    for levels in range(55, 68):
        path = tmp_path / f"{levels}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in (usual, made(_nested(levels)), usual)))
        slow = _read(Dataset.open(path), "slow")

        assert [_read(Dataset.open(path), way) for way in ("fast", "chat")] == [slow, slow], levels
