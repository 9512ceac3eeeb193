"""Rows with rare features come out the same whether the lanes take them or the general way does, alone or mixed."""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune_sdk.data import Dataset, prepare
from finetune_sdk.data.convert import convert
from finetune_sdk.errors import DataError
from finetune_sdk.spec import DataSpec

WORDS = st.sampled_from(
    (
        "a",
        "b: c",
        '"k": 1',
        "",
        " ",
        "<s>",
        "\u200b",
        "é",
        "\\",
        "\u0085",
        "x\x7f",
        '{"a":{}}',
        '{"a": 1, "a": 2}',
        "[]",
    )
)
NUMBERS = st.sampled_from((0, 1, -1, 0.5, 2, True, None, "1"))
TOOL: dict[str, Any] = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "x:y": 1}}}
TOOLS = st.sampled_from(
    ([TOOL], [TOOL, {"name": "g"}], [], None, [{"type": "function", "function": {"name": ""}}], [3])
)
PARTS = st.sampled_from((
    [{"type": "text", "text": "a: b"}],
    [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "https://a.b/c", "detail": "low"}}],
    [{"type": "image_url", "image_url": "https://a.b/c"}],
    [{"type": "text"}],
    [{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}],
    [],
))  # fmt: skip
CALL: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {
        "type": st.sampled_from(("function", "custom")),
        "function": st.fixed_dictionaries({"name": WORDS, "arguments": WORDS}),
    },
    optional={"id": st.sampled_from(("c1", "c2", None)), "index": st.just(0)},
)
MESSAGE: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {"role": st.sampled_from(("user", "assistant", "assistant", "tool", "system", "developer", "User"))},
    optional={
        "content": st.one_of(WORDS, WORDS, PARTS, st.none()),
        "name": st.one_of(WORDS, st.none()),
        "tool_calls": st.lists(CALL, max_size=2),
        "tool_call_id": st.sampled_from(("c1", "c2", None)),
        "weight": NUMBERS,
        "reasoning_content": WORDS,
        "thinking": WORDS,
        "refusal": WORDS,
        "mood": WORDS,
    },
)
TURN: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {"from": st.sampled_from(("human", "gpt", "system", "observation", "function_call", "user")), "value": WORDS},
    optional={"weight": NUMBERS, "name": WORDS},
)
CALLING = st.sampled_from((
    {"from": "function_call", "value": '{"name": "f", "arguments": {"q": "a: b"}}'},
    {"from": "function_call", "value": '[{"name": "f", "arguments": "{}"}, {"name": "g", "arguments": {}, "id": 1}]'},
    {"from": "function_call", "value": '{"name": "f", "arguments": {"q": 1, "q": 2}}'},
))  # fmt: skip
PLAIN = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]
PLAIN_TURNS = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "yo"}]
BESIDE: dict[str, st.SearchStrategy[Any]] = {
    "id": st.sampled_from((1, "r:1", None, {"a": [1, {"b": ":"}]})),
    "source:x": WORDS,
    "score": NUMBERS,
    "parallel_tool_calls": st.booleans(),
}


def rows(
    key: str, turn: st.SearchStrategy[Any], plain: list[Any], **more: st.SearchStrategy[Any]
) -> st.SearchStrategy[Any]:
    turns = st.one_of(st.just(plain), st.lists(turn, max_size=4).map(lambda found: [*found, plain[-1]]))
    return st.fixed_dictionaries({key: turns}, optional={**BESIDE, **more})


CHAT = rows("messages", MESSAGE, PLAIN, tools=TOOLS, system=WORDS)
SHAREGPT = rows(
    "conversations",
    st.one_of(TURN, TURN, CALLING),
    PLAIN_TURNS,
    tools=st.one_of(TOOLS.map(json.dumps), TOOLS, WORDS),
    system=WORDS,
)


def written(rows: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    """Rows as lines: some with their keys turned round, some tight, some with escapes, some with a key twice."""
    return st.builds(_line, rows, st.booleans(), st.booleans(), st.booleans(), st.sampled_from((0,) * 8 + (1, 2)))


def _line(row: dict[str, Any], back: bool, tight: bool, escaped: bool, change: int) -> bytes:
    row = dict(reversed(row.items())) if back else row
    text = json.dumps(row, ensure_ascii=escaped, separators=(",", ":") if tight else None)
    if change == 1:
        text = text.replace('"type"', '"type": 1, "type"', 1).replace('"id"', '"id": "\\u003a", "id"', 1)
    return (text.replace('"value":', '"value" :', 1) if change == 2 else text).encode()


FILES = st.one_of(
    st.tuples(st.just("chat"), st.lists(written(CHAT), min_size=1, max_size=8)),
    st.tuples(st.just("sharegpt"), st.lists(written(SHAREGPT), min_size=1, max_size=8)),
)
QUICK = settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=(HealthCheck.too_slow,))


def both_ways(patch: pytest.MonkeyPatch, path: Path, name: str, to: str) -> list[Any]:
    """What converting and preparing write and tell, with the lanes and without."""
    found: list[Any] = []
    for lanes in (True, False):
        if not lanes:
            patch.setattr("finetune_sdk.data.dataset.TO_CHAT", {})
            patch.setattr("finetune_sdk.data.dataset.READ", {})
            patch.setattr("finetune_sdk.data.dataset.COPIED", {})
        out, folder = path.with_name("out.jsonl"), path.with_name("prepared")
        done = convert(Dataset.open(path, format=name), out, to=to, allow=["all"], workers=1)
        ready = prepare(DataSpec(train=str(path), format=name), method="sft")
        lines = b""
        with suppress(DataError):
            lines = ready.write(folder)["train"].read_bytes()
        told = sorted(map(str, done.findings)), sorted(map(str, ready.findings))
        found.append((out.read_bytes() if done.written else b"", done.rows_read, lines, ready.files, told))
        out.unlink(missing_ok=True)
    return found


@given(case=FILES, to=st.sampled_from(("chat", "chat", "sharegpt", "gemini")))
@QUICK
def test_rows_with_rare_features_come_out_the_same_both_ways(case: tuple[str, list[bytes]], to: str) -> None:
    name, lines = case
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder) / "train.jsonl"
        path.write_bytes(b"\n".join(lines) + b"\n")
        fast, slow = both_ways(patch, path, name, to)
        assert fast == slow
