"""Rows of a large file that are looked at in one go count like rows that are looked at one by one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from finetune_sdk.data import skeleton
from finetune_sdk.data.detect import detect
from finetune_sdk.data.formats import FORMATS
from finetune_sdk.data.shapes import NotPlain
from finetune_sdk.data.straight import TO_CHAT

SHAREGPT: dict[str, Any] = {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a" * 3000}]}
CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "é\n" * 1000}]}
PAIR: dict[str, Any] = {"prompt": "q", "completion": "a"}
LABELLED: dict[str, Any] = {**CHAT, "label": True}
FILES: dict[str, Sequence[dict[str, Any] | str]] = {
    "one-format": [SHAREGPT] * 2000,
    "few-rows": [CHAT] * 20,
    "other-rows-in-the-middle": [CHAT] * 800 + [PAIR] * 900 + [CHAT] * 800,
    "other-rows-at-the-end": [SHAREGPT] * 1990 + [PAIR] * 40,
    "a-dialect-shows-late": [CHAT] * 1900 + [LABELLED] * 100,
    "unreadable-rows-between": [SHAREGPT] * 700 + ["oops", "", "[1]", '{"a": 1, "a": 2}'] * 100 + [SHAREGPT] * 900,
    "last-turn-the-users": [SHAREGPT] * 600 + [{**CHAT, "messages": CHAT["messages"][:1]}] * 900 + [SHAREGPT] * 900,
    "very-long-rows": [{"messages": [CHAT["messages"][0], {"role": "assistant", "content": "a" * 90_000}]}] * 90,
}


@pytest.mark.parametrize("name", FILES)
def test_what_is_detected_does_not_depend_on_how_rows_are_looked_at(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in FILES[name]))
    fast = detect(path)
    monkeypatch.setattr(skeleton, "_LARGEST", 0)  # nothing is cut
    assert fast == detect(path)


@pytest.mark.parametrize(
    ("name", "rows_key", "keys"),
    [
        ("sharegpt", "conversations", ("from", "value")),
        ("chat", "messages", ("role", "content")),
    ],
)
def test_rows_that_are_cut_match_one_format_alone(name: str, rows_key: str, keys: tuple[str, str]) -> None:
    words = ["human", "gpt", "function_call", "observation", "user", "assistant", "system", "developer", "tool"]
    cut = 0
    for roles in (roles for turns in (1, 2, 3) for roles in product(words, repeat=turns)):
        row = {rows_key: [{keys[0]: role, keys[1]: '{"name": "f", "arguments": {}}'} for role in roles]}
        try:
            found = TO_CHAT[name].shape.cut((json.dumps(row) + "\n").encode())
        except NotPlain:
            continue
        if found is not None:
            cut += 1
            assert [entry.name for entry in FORMATS if entry.match(row)] == [name]
    assert cut > 20
