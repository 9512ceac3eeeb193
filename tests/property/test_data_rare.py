"""Rows with rare features come out the same whether the lanes take them or the general way does, alone or mixed."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Raw

from finetune_sdk.data import Dataset, prepare
from finetune_sdk.data.chunked import Chunk
from finetune_sdk.data.convert import convert
from finetune_sdk.data.copied import COPIED, Copying
from finetune_sdk.data.copiedshapes import Written
from finetune_sdk.data.copiedtools import Tools
from finetune_sdk.data.formats import format_named
from finetune_sdk.data.jsonvalue import as_list, as_object
from finetune_sdk.data.marks import MARKS, is_clean
from finetune_sdk.data.renderer import Renderer
from finetune_sdk.data.report import Fault, Report
from finetune_sdk.data.skeleton import is_plain
from finetune_sdk.data.toolchecks import check_tools, functions_of, tool_name
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
TOOLS: st.SearchStrategy[Any] = st.sampled_from((
    *([TOOL], [TOOL, {"name": "g"}], [], None, [{"type": "function", "function": {"name": ""}}], [3]),
    [{"type": "function", "function": {"name": "f", "parameters": {"type": "any"}}}],
    [{"type": "function", "function": {"name": "f", "parameters": '{"type": "object", "required": []}'}}],
    *([{"type": "x"}], {"type": "function"}, "[]", [{"name": "é\\u003a", "x": [[[1.0]]]}]),
))  # fmt: skip
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
    [{"type": "image_url", "image_url": {"url": "https://a.b/c"}}, {"type": "text", "text": "\n"}],
    [{"type": "image_url", "image_url": {"detail": "low", "url": "a"}}, {"type": "text", "text": "b: c"}],
    [{"type": "image_url", "image_url": {"url": "", "detail": 1}}],
    [{"type": "image_url", "image_url": {"url": "a", "detail": "low", "mime_type": 1}}],
    [{"type": "image_url", "image_url": {"detail": "low"}}, {"type": "text", "text": "a"}],
    [{"type": "text", "text": "a"}, {"type": "text", "text": "<s>"}],
    [{"type": "text", "text": None}],
    [{"type": "text", "text": ["a"]}],
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
CALLED_ODDLY = (
    {"from": "function_call", "value": '{"name": "f", "arguments": {"q": "a: b"}}'},
    {"from": "function_call", "value": '[{"name": "f", "arguments": "{}"}, {"name": "g", "arguments": {}, "id": 1}]'},
    {"from": "function_call", "value": '{"name": "f", "arguments": {"q": 1, "q": 2}}'},
    {"from": "function_call", "value": "[]"},
    {"from": "function_call", "value": '{"name": "f", "arguments": {"q": "\\u00e9\\u200b\\\\", "r": -0.0}}'},
    {"from": "function_call", "value": '{"name": "f", "arguments": {"q": 1, "q": "\\u003a"}}'},
    {"from": "function_call", "value": '{"name": "f", "name": "g", "arguments": {"q": "\\u003A"}}'},
    {"from": "function_call", "value": '{"name": "\\u0066", "arguments": "{\\"q\\": 1, \\"q\\": 2}"}'},
    {"from": "function_call", "value": '{"name": "f", "arguments": {"q": "\\ud800"}}'},
    {"from": "function_call", "value": '{"name": "f", "arguments": "3"}'},
    {"from": "Tool-Call", "value": '{"name": "f", "arguments": {"q": ' + "[" * 60 + "]" * 60 + "}}"},
)  # fmt: skip
CALLING = st.sampled_from(CALLED_ODDLY)
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


SAID: list[dict[str, Any]] = [{"role": "user", "content": "a: b"}, {"role": "assistant", "content": "c"}]
ARGUMENTS: st.SearchStrategy[Any] = st.sampled_from(
    (
        *["{}", '{"q": "a: b"}', {"q": [1.50]}] * 6,
        '{"q": 1, "q": 2}',
        "{'q': 1}",
        "3",
        '"{}"',
        "",
        {"q": [1]},
        None,
        "[" * 70,
        '{"q": NaN}',
    )
)

CONTENTS: tuple[Any, ...] = (None, None, "", "", "hm", "hm", [], 3)
BESIDE_CALLS = st.sampled_from([{}, {}, *[{"content": content} for content in CONTENTS]])
NO_CALLS: list[dict[str, Any]] = [*[{}] * 12, {"tool_calls": []}]
WITH_TOOLS: st.SearchStrategy[Any] = st.sampled_from(
    (*[{"tools": [TOOL]}] * 6, *[{}] * 6, {"tools": None}, {"tools": [], "id": 1})
)
INSTEAD: st.SearchStrategy[Any] = st.sampled_from((None, "c", 0, [], [{}]))


@st.composite
def used_tools(draw: st.DrawFn) -> dict[str, Any]:
    """A row of chat that uses tools the usual way, but for a few things now and then."""

    def oddly(usual: object, *odd: object) -> Any:
        return draw(st.sampled_from((*[usual] * 12, *odd)))

    said: list[dict[str, Any]] = [{"role": "user", "content": oddly("a: b", " ", None)}]
    named = draw(st.booleans())
    for turn in range(draw(st.integers(0, 3))):
        ids = [oddly(f'c"{turn}{at}', f"c{turn}", "c", "", None, 3) for at in range(draw(st.integers(1, 3)))]
        calls = [
            {
                "id": id_,
                "type": oddly("function", "custom", 3),
                "function": {"name": oddly("f", "g", "", None), "arguments": draw(ARGUMENTS)},
            }
            for id_ in ids
        ]
        results = [{"role": "tool", "content": oddly("d", "", None, 3), "tool_call_id": id_} for id_ in ids]
        results = draw(st.permutations(results))[: len(ids) - oddly(0, 1)]
        beside = draw(BESIDE_CALLS)
        for unnamed in (*calls, *results) if not named else ():
            for key in ("id", "tool_call_id"):
                unnamed.pop(oddly(key, "none"), None)
        said += [{"role": oddly("assistant", "user"), **beside, "tool_calls": calls}, *results]
    if oddly(True, False):
        said.append({"role": "assistant", "content": "c", **draw(st.sampled_from(NO_CALLS))})
    changed = draw(st.sampled_from(said))
    key = oddly(None, "name", "tool_call_id", "tool_calls", "content", "type", "weight")
    if key is not None and not changed.pop(key, None):
        changed[key] = draw(INSTEAD)
    return {"messages": said, **draw(WITH_TOOLS)}


USED = st.lists(written(used_tools()), min_size=1, max_size=5).map(lambda lines: ("chat", lines))
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


@given(case=USED)
@settings(QUICK, max_examples=150)
def test_rows_that_use_tools_come_out_the_same_both_ways(case: tuple[str, list[bytes]]) -> None:
    name, lines = case
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder) / "train.jsonl"
        path.write_bytes(b"\n".join(lines) + b"\n")
        fast, slow = both_ways(patch, path, name, "chat")
        assert fast == slow


ASKED = {"type": "function", "function": {"name": "f", "arguments": '{"q": 1}'}}
TURNS = [{"from": "human", "value": "a: b"}, {"from": "gpt", "value": "c"}]
CALLED = {"from": "function_call", "value": '[{"name": "f", "arguments": {"q": "a: b"}}]'}
COMMON: dict[str, tuple[str, dict[str, Any]]] = {
    "weights": ("chat", {"messages": [SAID[0], SAID[1] | {"weight": 0.5}]}),
    "names": ("chat", {"messages": [SAID[0] | {"name": "ann"}, SAID[1]]}),
    "parts": ("chat", {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}, SAID[1]]}),
    "answers in parts": (
        "chat",
        {
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "h:", "detail": "low"}}]},
                {"role": "assistant", "content": [{"type": "text", "text": "a: b"}, {"type": "text", "text": "c"}]},
            ]
        },
    ),
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
    "calls with a name": (
        "chat",
        {
            "messages": [
                SAID[0] | {"name": "ann"},
                {"role": "assistant", "tool_calls": [ASKED | {"id": id_} for id_ in ("c1", "c2")]},
                {"role": "tool", "content": "d", "name": "f", "tool_call_id": "c2"},
                {"role": "tool", "content": "d", "name": "f", "tool_call_id": "c1"},
                SAID[1],
            ],
            "tools": [TOOL],
        },
    ),
    "calls by order": (
        "chat",
        {
            "tools": [TOOL],
            "messages": [
                {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {}}}]},
                {"role": "tool", "content": "d", "name": "f"},
                {"role": "tool", "content": "e", "name": "f"},
                SAID[1],
            ],
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


TYPES: st.SearchStrategy[Any] = st.sampled_from(
    ("object", "OBJECT", "any", "", None, 3, ["string", "null"], ["x"], {}, True)
)
REQUIRED: st.SearchStrategy[Any] = st.sampled_from((["a"], [], None, "a", [1]))
LEAVES: st.SearchStrategy[Any] = st.sampled_from((None, True, "s", 3, [], {}))
SCHEMAS: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "type": TYPES,
            "properties": st.one_of(st.dictionaries(st.sampled_from("ab"), inner, max_size=2), inner),
            "$defs": st.dictionaries(st.just("d"), inner, max_size=1),
            "required": REQUIRED,
            "items": inner,
        },
    ),
    max_leaves=4,
)
FUNCTIONS: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {}, optional={"name": st.sampled_from(("f", "", None, 3)), "parameters": SCHEMAS, "description": WORDS}
)
GIVEN_TOOLS: st.SearchStrategy[Any] = st.lists(
    st.fixed_dictionaries(
        {}, optional={"type": st.sampled_from(("function", "x", None)), "function": st.one_of(FUNCTIONS, st.none())}
    ),
    max_size=2,
)


@given(given=GIVEN_TOOLS)
@settings(QUICK, max_examples=500)
def test_tools_that_are_told_fast_have_names_and_no_finding(given: list[Any]) -> None:
    names = functions_of(json.dumps(given).encode())
    assert names is None or (names, []) == ([tool_name(tool) for tool in given], [*check_tools([], given)])


def test_most_tools_are_told_fast() -> None:
    inner: dict[str, Any] = {"type": ["string", "null"], "items": {}}
    schema = {"type": "object", "properties": {"a": inner, "b": True}, "required": ["a"]}
    assert functions_of(json.dumps([TOOL, {"function": {"name": "g", "parameters": schema}}]).encode()) == ["f", "g"]


@given(
    st.lists(st.sampled_from((*MARKS, b"\x7f", b"\\", b"\\u", b"/", b"b", b"<", b"a", b'"', b"\t")), max_size=8).map(
        b"".join
    )
)
@QUICK
def test_no_line_is_plain_that_is_not_clean(line: bytes) -> None:
    assert is_clean(line) or not is_plain(b'"' + line)


KEYS = "role from at q id a name type function arguments content value tools url".split()  # noqa: SIM905


@given(row=st.sampled_from(list(COMMON.values())), key=st.sampled_from(KEYS), quote=st.sampled_from(('"', r"\"")))
@settings(QUICK, max_examples=400)
def test_no_row_with_a_key_twice_is_copied(row: tuple[str, dict[str, Any]], key: str, quote: str) -> None:
    name, fields = row
    quote = '"' if name == "chat" else quote  # arguments that are a text are kept as they were sent
    text = json.dumps(fields)
    key, lost = f"{quote}{key}{quote}: ", f"{quote}lost{quote}"
    text = text.replace(key, f"{key}{lost}, {key}", 1)
    text = text if "lost" in text else text.replace("{", '{"lost": "", "lost": "",', 1)
    found = list(Copying(COPIED[name]).pieces(1, Chunk(text.encode() + b"\n")))
    assert [block for *_, block in found] == [None]


def changes(value: Any) -> Iterator[Any]:
    """The value with one thing in it changed, left out, or there twice."""
    yield from (None, "", " ", "x", "3", 3, [], [1, 2], {})
    fields = as_object(value) or {}
    for key, inner in fields.items():
        yield {name: one for name, one in fields.items() if name != key}
        yield from ({**fields, key: one} for one in changes(inner))
    if fields:
        yield {**fields, "own": 1}
    for at, inner in enumerate(as_list(value) or ()):
        yield value[:at] + value[at + 1 :]
        yield [*value[:at], inner, *value[at:]]
        yield from ([*value[:at], one, *value[at + 1 :]] for one in changes(inner))


def changed_rows(kind: str) -> Iterator[dict[str, Any]]:
    name, row = COMMON[kind]
    turns = "messages" if name == "chat" else "conversations"
    for said in (*changes(row[turns]), *with_more(row[turns])):
        yield {**row, turns: said}
        yield {turns: said}
    for tools in changes([{"type": "function", "function": SCHEMA}]):
        yield {**row, "tools": tools}
        yield {**row, "tools": json.dumps(tools)}
    for text in ('[{"name": "f", "name": "\\u003a"}]', '[{"name": "f", "x": ' + "[" * 70 + "]" * 70 + "}]"):
        yield {**row, "tools": text}
    if name == "sharegpt":
        called = [json.dumps(call) for call in changes([{"name": "f", "arguments": {"q": "a: b", "r": [1.50]}}])]
        for text in (*called, *[turn["value"] for turn in CALLED_ODDLY]):
            yield {**row, turns: [TURNS[0], {"from": "function_call", "value": text}, TURNS[1]]}


def with_more(turns: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """The turns with one key more, and calls whose ids and results may not fit."""
    for at, turn in enumerate(turns):
        for more in ({"tool_call_id": "c1"}, {"tool_calls": [ASKED | {"id": "c1"}]}, {"name": "n"}):
            yield [*turns[:at], turn | more, *turns[at + 1 :]]
    ids: list[dict[str, str]] = [{}, {"id": "c1"}, {"id": "c2"}, {"id": ""}]
    for asked in product(ids, repeat=2):
        calls = {"role": "assistant", "tool_calls": [ASKED | id_ for id_ in asked]}
        for answers in product(ids, repeat=2):
            results = [{"role": "tool", "content": "d"} for _ in answers]
            for result, id_ in zip(results, answers, strict=True):
                result.update({"tool_call_id": id_["id"]} if id_ else {})
            yield [calls, *results, SAID[1]]
            yield [calls, results[0], calls, *results, SAID[1]]


def primed(name: str) -> Copying:
    """One that tries any row as a whole."""
    turns = COMMON["calls" if name == "chat" else "sharegpt tools"][1]
    key = COPIED[name].keys[0]
    copying = Copying(COPIED[name])
    assert [block for *_, block in copying.pieces(1, Chunk(json.dumps({key: turns[key]}).encode() + b"\n"))] != [None]
    return copying


SCHEMA = {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}}


@pytest.mark.parametrize(
    "kind", ["parts", "answers in parts", "images", "calls", "calls with a name", "calls by order", "sharegpt tools"]
)
def test_a_row_with_one_thing_changed_is_written_as_its_example(kind: str) -> None:
    name = COMMON[kind][0]
    for changed in changed_rows(kind):
        line = json.dumps(changed).encode() + b"\n"
        ((*_, copied),) = primed(name).pieces(1, Chunk(line))
        if copied is not None:
            assert (changed, copied.lines) == (changed, example_of(changed, name))


def example_of(row: dict[str, Any], name: str) -> bytes | None:
    """The line of chat that the row's example becomes; None where something is to be said about it."""
    noted: list[object] = []
    report = Report()

    def note(*told: object) -> None:
        noted.append(told)

    renderer = Renderer(format_named("chat"), (), report)
    try:
        example = format_named(name).parse(row, note)
    except Fault:
        return None
    renderer.judge(example)
    (found,) = renderer.rows(example) or (None,)
    return None if noted or report.findings() else msgspec.json.encode(found) + b"\n"


@pytest.mark.parametrize("kind", ["calls", "calls with a name", "calls by order", "sharegpt tools", "sharegpt layout"])
def test_a_row_of_the_usual_shape_is_decoded_once(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, row = COMMON[kind]
    monkeypatch.setattr("finetune_sdk.data.copied.Row", None)  # what takes turns one by one
    found = list(Copying(COPIED[name]).pieces(1, Chunk(json.dumps(row).encode() + b"\n")))
    assert [block.rows for *_, block in found if block is not None] == [1]


def test_rows_of_another_shape_cost_few_tries() -> None:
    tried: list[object] = []

    def write(row: object, tools_of: Callable[[Raw], Tools]) -> Written:
        tried.append(row)
        return COPIED["chat"].write(row, tools_of)

    (_, parts), (_, calls) = COMMON["parts"], COMMON["calls"]
    line = json.dumps(calls | {"messages": [*parts["messages"], *calls["messages"]]}).encode() + b"\n"
    copying = Copying(replace(COPIED["chat"], write=write))
    found = list(copying.pieces(1, Chunk(line * 320)))
    assert [block.rows for *_, block in found if block is not None] == [320]
    assert 2 < len(tried) < 20


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
