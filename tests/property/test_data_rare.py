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
from finetune_sdk.data.copied import COPIED, Copying
from finetune_sdk.data.marks import MARKS, is_clean
from finetune_sdk.data.readers import Chunk
from finetune_sdk.data.skeleton import is_plain
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
    [{"text": "a", "type": "text"}],
    [{"type": "text", "text": " "}],
    [{"type": "text", "text": "a", "x": 1}],
    [{"image_url": {"detail": "low", "url": "https://a.b/c"}, "type": "image_url"}, {"type": "text", "text": "a"}],
    [{"type": "text"}],
    [{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}],
    [],
))  # fmt: skip
CALL: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {
        "type": st.sampled_from(("function", "custom")),
        "function": st.fixed_dictionaries({"name": WORDS, "arguments": WORDS}),
    },
    optional={"id": st.sampled_from(("c1", "c2", None, 5)), "index": st.just(0)},
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
    {"from": "function_call", "value": "[]"},
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


SAID = [{"role": "user", "content": "a: b"}, {"role": "assistant", "content": "c"}]
ASKED = {"type": "function", "function": {"name": "f", "arguments": '{"q": 1}'}}
TURNS = [{"from": "human", "value": "a: b"}, {"from": "gpt", "value": "c"}]
CALLED = {"from": "function_call", "value": '[{"name": "f", "arguments": {"q": "a: b"}}]'}
COMMON: dict[str, tuple[str, dict[str, Any]]] = {
    "weights": ("chat", {"messages": [SAID[0], SAID[1] | {"weight": 0.5}]}),
    "names": ("chat", {"messages": [SAID[0] | {"name": "ann"}, SAID[1]]}),
    "parts": ("chat", {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}, SAID[1]]}),
    "images": (
        "chat",
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "h:"}}]}, SAID[1]]},
    ),
    "calls": (
        "chat",
        {
            "messages": [
                SAID[0],
                {"role": "assistant", "content": None, "tool_calls": [ASKED | {"id": "c1"}]},
                {"role": "tool", "content": "d", "tool_call_id": "c1"},
                SAID[1],
            ],
            "tools": [TOOL],
        },
    ),
    "calls without ids": (
        "chat",
        {"messages": [{"role": "assistant", "tool_calls": [ASKED]}, {"role": "tool", "content": "d"}, SAID[1]]},
    ),
    "reasoning": ("chat", {"messages": [SAID[0], SAID[1] | {"reasoning_content": "hm", "refusal": None}]}),
    "own keys": ("chat", {"messages": [SAID[0] | {"at": 1.5}, SAID[1]], "id": "x", "meta": {"a": [1]}}),
    "sharegpt weights": ("sharegpt", {"conversations": [TURNS[0], TURNS[1] | {"weight": 1}]}),
    "sharegpt tools": (
        "sharegpt",
        {
            "conversations": [TURNS[0], CALLED, {"from": "observation", "value": "d"}, TURNS[1]],
            "tools": json.dumps([TOOL["function"]]),
        },
    ),
    "sharegpt own keys in turns": ("sharegpt", {"conversations": [TURNS[0] | {"at": 1.0, "x": [1]}, TURNS[1]]}),
    "sharegpt own keys": ("sharegpt", {"conversations": [TURNS[0] | {"at": None}, TURNS[1]], "id": "x", "score": 2}),
    "sharegpt layout": (
        "sharegpt",
        {"system": "s", "tools": "", "conversations": [{"value": "a", "from": "user"}, {"value": "b", "from": "GPT"}]},
    ),
}


@pytest.mark.parametrize("kind", COMMON)
def test_a_common_rare_feature_is_copied(kind: str) -> None:
    name, row = COMMON[kind]
    lines = [json.dumps(row).encode() + b"\n"] * 3
    found = list(Copying(COPIED[name]).pieces(1, Chunk(b"".join(lines))))
    assert [block.rows for *_, block in found if block is not None] == [3]


@pytest.mark.parametrize("kind", COMMON)
def test_what_is_copied_is_what_examples_become(kind: str, tmp_path: Path) -> None:
    name, row = COMMON[kind]
    path = tmp_path / "train.jsonl"
    path.write_text((json.dumps(row, ensure_ascii=False) + "\n") * 3)
    with pytest.MonkeyPatch.context() as patch:
        fast, slow = both_ways(patch, path, name, "chat")
    assert fast == slow
    assert fast[1] == 3
    assert len(fast[0].splitlines()) == 3


def test_arguments_that_are_a_text_inside_a_text_are_written_as_we_write_it(tmp_path: Path) -> None:
    called = {"from": "function_call", "value": r'{"name": "f", "arguments": "{\"u\": \"a\/b\"}"}'}
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps({"conversations": [TURNS[0], called]}) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        fast, slow = both_ways(patch, path, "sharegpt", "chat")
    assert fast == slow
    assert b"a/b" in fast[0]


@given(
    st.lists(st.sampled_from((*MARKS, b"\x7f", b"\\", b"\\u", b"/", b"b", b"<", b"a", b'"', b"\t")), max_size=8).map(
        b"".join
    )
)
@QUICK
def test_no_line_is_plain_that_is_not_clean(line: bytes) -> None:
    assert is_clean(line) or not is_plain(b'"' + line)


@given(row=st.sampled_from(list(COMMON.values())), key=st.sampled_from(("role", "from", "at", "q", "id", "a")))
@QUICK
def test_no_row_with_a_key_twice_is_copied(row: tuple[str, dict[str, Any]], key: str) -> None:
    text = json.dumps(row[1]).replace(f'"{key}": ', f'"{key}": "lost", "{key}": ', 1)
    text = text if "lost" in text else text.replace("{", '{"lost": "", "lost": "",', 1)
    found = list(Copying(COPIED[row[0]]).pieces(1, Chunk(text.encode() + b"\n")))
    assert [block for *_, block in found] == [None]


@pytest.mark.parametrize("id_", [5, True, 1.5, [], {}])
def test_no_call_whose_id_is_no_text_is_copied(id_: object, tmp_path: Path) -> None:
    called = {"role": "assistant", "content": None, "tool_calls": [ASKED | {"id": id_}]}
    _refused_both_ways(tmp_path, "chat", json.dumps({"messages": [SAID[0], called]}), "the id must be text")


@pytest.mark.parametrize("row", [{"messages": [*SAID, {"content": "x"}]}, {"conversations": [*TURNS, {"value": "x"}]}])
def test_a_turn_that_nobody_speaks_is_not_copied(row: dict[str, Any], tmp_path: Path) -> None:
    _refused_both_ways(tmp_path, "chat" if "messages" in row else "sharegpt", json.dumps(row), "no '")


@pytest.mark.parametrize("name", ["chat", "sharegpt"])
def test_turns_under_an_empty_key_are_no_conversation(name: str, tmp_path: Path) -> None:
    _refused_both_ways(tmp_path, name, json.dumps({"": SAID if name == "chat" else TURNS}), "missing")


@pytest.mark.parametrize("where", ["row", "turn", "object"])
def test_no_number_of_more_digits_than_can_be_read_is_copied(where: str, tmp_path: Path) -> None:
    number = "1" * 5000
    beside = {"row": f'"n": {number}', "turn": '"id": 1', "object": f'"n": {{"a": {number}}}'}[where]
    last = json.dumps(SAID[1])[:-1] + (f', "n": {number}}}' if where == "turn" else "}")
    _refused_both_ways(
        tmp_path, "chat", f'{{"messages": [{json.dumps(SAID[0])}, {last}], {beside}}}', "an integer of 5000 digits"
    )


def _refused_both_ways(folder: Path, name: str, line: str, why: str) -> None:
    path = folder / "train.jsonl"
    path.write_text(line + "\n")
    with pytest.MonkeyPatch.context() as patch:
        fast, slow = both_ways(patch, path, name, "chat")
    assert fast == slow
    assert not fast[0]
    assert any(why in told for told in fast[-1][0])
