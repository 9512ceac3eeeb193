"""Rows that go straight to chat come out as the general way writes them, whatever stands between them."""

from __future__ import annotations

import json
import re
import tempfile
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from drawing import examples
from hypothesis import example, given
from hypothesis import strategies as st

from finetune_sdk.data import Dataset, chunked, marks, ranges, straight
from finetune_sdk.data.checks import TEXT_MARKS
from finetune_sdk.data.chunked import Chunk
from finetune_sdk.data.convert import Outcome, convert
from finetune_sdk.errors import DataError

ODD_TEXTS = st.sampled_from(
    (
        *("", " ", "\n\t", "\u2003", "\u3000x", "\x85", "\x1c", "\x7f", "\b", "\0", "é\u0301", "\u2028", "\ufffe"),
        *("\\u0041", "\\", "\\\\", '\\"', "a/b", "</s>", "<s>", "<bos>", "<end_of_turn>", "<|im_end|>"),
        *("<<SYS>>", "<</SYS>>", "<|", "INST]", "<sys>", '":', '{"from": "x"}', "a:b", "😀"),
        *("[INST]", "[/INST]", "<\uff5cx\uff5c>", "<\uff5c\uff5c>"),
        *("Â®", "Ã©", "â€™", "â€\x9d", "Â", "Ã", "\u200b", "\u2060", "\ufeff", "\u202e", "\u2066", "\u200d", "”", "€"),
    )
)  # fmt: skip
TEXT = st.one_of(st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=6), ODD_TEXTS)
CALLS = st.sampled_from(
    (
        *('{"name": "f", "arguments": {"q": "a:b"}}', '{"name": "f", "arguments": "{}"}', '{"name": "f"}', "oops"),
        *('{"name": "f", "arguments": {"a": 1, "a": 2}}', '[{"name": "f", "arguments": {}}]'),
        *('{"arguments":{"x":1.50},"name":"é"}', '{"name": "f", "arguments": {}, "more": 1}'),
    )
)
SHAREGPT = st.one_of(
    *[st.tuples(st.sampled_from(("human", "gpt", "gpt", "system", "observation", "alien")), TEXT)] * 4,
    CALLS.map(lambda text: ("function_call", text)),
)


def sharegpt(turns: list[tuple[str, str]]) -> dict[str, Any]:
    return {"conversations": [{"from": role, "value": text} for role, text in [("human", "hi"), *turns, ("gpt", "yo")]]}


def chat(turns: list[tuple[str, str]]) -> dict[str, Any]:
    words = {"human": "user", "gpt": "assistant", "observation": "tool", "function_call": "developer"}
    said = [{"role": words.get(role, role), "content": text} for role, text in turns]
    return {"messages": [*said, {"role": "assistant", "content": "yo"}]}


def alpaca(turns: list[tuple[str, str]]) -> dict[str, Any]:
    texts = [text for _, text in turns] + ["a", "b"]
    return {"instruction": texts[0], **({"input": texts[2]} if len(texts) > 2 else {}), "output": texts[1]}


def pair(turns: list[tuple[str, str]]) -> dict[str, Any]:
    texts = [text for _, text in turns] + ["a", "b"]
    return {"prompt": texts[0], "completion": texts[1]}


ROLE = {"human": "user", "gpt": "assistant", "system": "system"}
SHAPES = {"sharegpt": sharegpt, "chat": chat, "alpaca": alpaca, "prompt-completion": pair}
STYLES: list[dict[str, Any]] = [
    {"ensure_ascii": False},
    {"ensure_ascii": False, "separators": (",", ":")},
    {"ensure_ascii": True},
    {"ensure_ascii": False, "separators": (" , ", " : ")},
]


CHANGES = ("repeat", "cut", "glue", "bytes", "slash", "escape", "blank", "type", "nan", "surrogate", "ends")


@st.composite
def lines(draw: st.DrawFn, name: str) -> bytes:
    row = SHAPES[name](draw(st.lists(SHAREGPT, max_size=3)))
    if draw(st.booleans()):
        row["id"] = draw(st.sampled_from(("x1", "é:", 3, None)))
    line = json.dumps(row, **draw(st.sampled_from(STYLES)))
    change = draw(st.sampled_from(("", "", "", "", "", *CHANGES)))
    text = line.encode()
    if change == "repeat":  # a key twice, its first value lost
        text = text.replace(b'"value"', b'"value":"lost","value"', 1).replace(b'"output"', b'"output":"lost","output"')
    elif change == "cut":
        text = text[: draw(st.integers(0, len(text)))].replace(b"\n", b"")
    elif change == "glue":
        text += text
    elif change == "bytes":
        text = text.replace(b"yo", b"\xff\xed\xa0\x80")
    elif change == "slash":
        text = text.replace(b"/", b"\\/").replace(b"hi", b"h\\u0069")
    elif change == "escape":
        text = text.replace(b"<", b"\\u003c").replace(b"[/", b"\\u005B/").replace(b"\x7f", b"\\u007f")
    elif change == "blank":
        text += b"\n \n"
    elif change == "type":
        text = text.replace(b'"hi"', b"7").replace(b'"yo"', b"null")
    elif change == "nan":
        text = text.replace(b'"yo"', b"NaN").replace(b'"b"', b"1e999")
    elif change == "surrogate":
        text = text.replace(b"yo", b"\\ud83d").replace(b"hi", b"\\ude00")
    elif change == "ends":
        text += b"\r"
    return text


@contextmanager
def without_lanes() -> Generator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("finetune_sdk.data.dataset.TO_CHAT", {})
        patch.setattr("finetune_sdk.data.dataset.READ", {})
        patch.setattr("finetune_sdk.data.dataset.COPIED", {})
        yield


def converted(path: Path, out: Path, name: str, workers: int = 1) -> tuple[bytes, int, list[str]]:
    done: Outcome = convert(Dataset.open(path, format=name), out, to="chat", workers=workers)
    return out.read_bytes() if out.exists() else b"", done.rows_read, sorted(map(str, done.findings))


def files(name: str) -> st.SearchStrategy[tuple[str, list[bytes]]]:
    return st.lists(lines(name), min_size=1, max_size=12).map(lambda rows: (name, rows))


TWO_VALUES = b'{"conversations": [{"from": "human", "value": "no", "value": "hi"}, {"from": "%b", "value": "%b"}]}'


@given(case=st.sampled_from(list(SHAPES)).flatmap(files))
@example(case=("alpaca", [rb'{"instruction": "<\/s>", "input": "b", "output": "a"}']))
@example(case=("prompt-completion", ['{"prompt": "a", "completion": "Â®"}'.encode()]))
@example(case=("prompt-completion", [rb'{"prompt": "\u003cs>", "completion": "\u200b"}']))
@example(case=("chat", [rb'{"messages": [{"role": "assistant", "content": "\u005bINST\u005d"}]}']))
@example(
    case=("prompt-completion", [b'{"prompt": "a", "completion": "b"}'] * 2 + [b"", b'{"prompt": "a"}{"prompt": "b"}'])
)
@example(case=("sharegpt", [TWO_VALUES % (b"gpt", rb"a\u003a")]))
@example(case=("sharegpt", [TWO_VALUES % (b"function_call", rb"{\"name\": \"\u00e9\", \"arguments\": {}}")]))
@examples(400)
def test_the_straight_way_writes_and_tells_what_the_general_way_does(case: tuple[str, list[bytes]]) -> None:
    name, rows = case
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.jsonl"
        path.write_bytes(b"\n".join(rows) + b"\n")
        fast = converted(path, Path(folder) / "fast.jsonl", name)
        with without_lanes():
            slow = converted(path, Path(folder) / "slow.jsonl", name)
        assert fast == slow


@given(case=st.sampled_from(list(SHAPES)).flatmap(files), size=st.integers(1, 400))
@examples(60)
def test_what_is_written_and_told_does_not_depend_on_the_size_of_chunks(
    case: tuple[str, list[bytes]], size: int
) -> None:
    name, rows = case
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder) / "train.jsonl"
        path.write_bytes(b"\n".join(rows) + b"\n")
        whole = converted(path, Path(folder) / "whole.jsonl", name)
        patch.setattr(chunked, "CHUNK_BYTES", size)
        assert converted(path, Path(folder) / "chunks.jsonl", name) == whole


@given(case=st.sampled_from(list(SHAPES)).flatmap(files), size=st.integers(1, 400), workers=st.integers(2, 3))
@examples(20)
def test_what_is_written_and_told_does_not_depend_on_the_number_of_processes(
    case: tuple[str, list[bytes]], size: int, workers: int
) -> None:
    name, rows = case
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder) / "train.jsonl"
        path.write_bytes(b"\n".join(rows) + b"\n")
        one = converted(path, Path(folder) / "one.jsonl", name)
        patch.setattr(threading, "active_count", lambda: 1)  # a fork then: quick
        patch.setattr(ranges, "LARGE_BYTES", 0)
        patch.setattr(ranges, "RANGE_BYTES", size)
        assert converted(path, Path(folder) / "more.jsonl", name, workers) == one


SPACED = json.dumps(sharegpt([("human", "a"), ("gpt", "b")] * 3)).encode()
TIGHT = json.dumps(sharegpt([("human", "a"), ("gpt", "b")] * 3), separators=(",", ":")).encode()
TWICE = SPACED.replace(b'"value": "a"', b'"value": "no", "value": "a"', 1)


@given(
    row=st.sampled_from((SPACED, TWICE, TWICE.replace(b"no", b"nothing"))),
    cuts=st.lists(st.sampled_from((b": ", b", ")), min_size=1, max_size=24),
    where=st.lists(st.integers(0, 40), min_size=24, max_size=24),
    more=st.lists(st.sampled_from((b" ", b"\t", b"\r")), max_size=3),
    others=st.lists(st.sampled_from((SPACED, TIGHT)), max_size=2),
)
@examples(400)
def test_missing_spaces_never_make_up_for_a_key_that_comes_twice(
    row: bytes, cuts: list[bytes], where: list[int], more: list[bytes], others: list[bytes]
) -> None:
    """The length of a chunk tells whether keys came twice; here it is drawn to be what it would be without."""
    for cut, at in zip(cuts, where, strict=False):
        parts = row.split(cut)
        if len(parts) > 1:
            cut_at = at % (len(parts) - 1)
            row = cut.join(parts[: cut_at + 1]) + cut.strip() + cut.join(parts[cut_at + 1 :])
    for space in more:
        row = row.replace(b"[", b"[" + space, 1)
    data = b"\n".join((row, *others)) + b"\n"
    block = straight.TO_CHAT["sharegpt"].lines(Chunk(data))
    assert block is None or b'"no' not in row
    assert block is None or [json.loads(line) for line in block.lines.splitlines()] == [
        {
            "messages": [
                {"role": ROLE[turn["from"]], "content": turn["value"]} for turn in json.loads(line)["conversations"]
            ]
        }
        for line in (row, *others)
    ]


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("style", STYLES[:3])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
def test_rows_as_libraries_write_them_take_the_straight_way(name: str, style: dict[str, Any], end: bytes) -> None:
    row = SHAPES[name]([("human", "Grüße 😀"), ("gpt", "a \\ b\n")])
    line = json.dumps(row, **style).encode() + end
    assert straight.TO_CHAT[name].lines(Chunk(line * 3 if end else line)) is not None


@pytest.mark.parametrize("name", SHAPES)
def test_a_plain_row_of_the_format_takes_the_straight_way(name: str) -> None:
    row = SHAPES[name]([("human", "Grüße 😀"), ("gpt", "a \\ b\n")])
    line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
    assert straight.TO_CHAT[name].lines(Chunk(line * 3)) is not None


def test_a_call_with_escapes_takes_the_straight_way() -> None:
    row = sharegpt([("function_call", '{"name": "é", "arguments": {"q": "a:b"}}'), ("observation", "ü")])
    line = json.dumps(row).encode() + b"\n"
    assert straight.TO_CHAT["sharegpt"].lines(Chunk(line)) is not None


def test_one_odd_row_does_not_send_its_neighbours_the_general_way() -> None:
    good = json.dumps(sharegpt([])).encode() + b"\n"
    journey = straight.Journey(straight.TO_CHAT["sharegpt"])
    pieces = list(journey.pieces(1, Chunk(good * 50 + b"oops\n" + good * 49)))
    assert [line for line, _, block in pieces if block is None] == [51]
    assert sum(block.rows for _, _, block in pieces if block) == 99


def test_rows_become_plain_again_soon_after_many_that_were_not() -> None:
    good = json.dumps(sharegpt([])).encode() + b"\n"
    odd = good.replace(b'"from"', b'"weight": 1, "from"')
    journey = straight.Journey(straight.TO_CHAT["sharegpt"], followed=True)
    handed_back = [len(list(journey.pieces(1, chunked.Chunk(odd * 20)))) for _ in range(200)]
    assert handed_back.count(1) > 180  # taken apart no more
    assert any(block for _ in range(33) for *_, block in journey.pieces(1, chunked.Chunk(good * 20)))


@given(text=st.one_of([st.from_regex(mark, fullmatch=True) for mark in TEXT_MARKS]))
@examples(400)
def test_every_mark_that_gives_a_text_a_finding_keeps_it_from_the_straight_way(text: str) -> None:
    for style in STYLES:
        line = json.dumps({"prompt": f"a{text}b", "completion": "x"}, **style).encode() + b"\n"
        assert straight.TO_CHAT["prompt-completion"].lines(Chunk(line)) is None


@given(text=st.one_of([st.from_regex(mark, fullmatch=True) for mark in TEXT_MARKS]))
@examples(400)
def test_one_look_at_many_texts_misses_no_mark_with_and_without_hyperscan(text: str) -> None:
    data = f"x\n{text}\nÃ".encode()
    assert marks.may_be_marked(data.decode())
    assert marks.texts_by_re(data)
    found = marks.texts_by_hyperscan()
    assert found is None or found(data)


@given(text=st.one_of([st.from_regex(mark, fullmatch=True) for mark in TEXT_MARKS]))
@examples(200)
def test_lines_with_a_mark_are_not_clean(text: str) -> None:
    for style in STYLES:
        line = json.dumps({"anything": [f"a{text}b"]}, **style).encode() + b"\n"
        assert not marks.is_clean(line)


@given(rows=st.lists(st.lists(st.tuples(st.sampled_from(("human", "gpt")), TEXT), max_size=3), min_size=1, max_size=4))
@examples(100)
def test_lines_looked_at_together_get_the_findings_of_rows_looked_at_one_by_one(
    rows: list[list[tuple[str, str]]],
) -> None:
    with tempfile.TemporaryDirectory() as folder, without_lanes():
        lines, array = Path(folder) / "rows.jsonl", Path(folder) / "rows.json"
        lines.write_text("".join(json.dumps(sharegpt(row), ensure_ascii=False) + "\n" for row in rows))
        array.write_text(json.dumps([sharegpt(row) for row in rows], ensure_ascii=False))
        together = converted(lines, Path(folder) / "a.jsonl", "sharegpt")
        alone = converted(array, Path(folder) / "b.jsonl", "sharegpt")
        told = [line.replace("rows.jsonl", "") for line in together[2]]
        assert (together[:2], told) == (alone[:2], [line.replace("rows.json", "") for line in alone[2]])


@pytest.mark.parametrize("space", [" ", "\t", "  "])
def test_a_key_that_comes_twice_is_told_beside_one_with_space_before_its_colon(space: str) -> None:
    line = f'{{"messages"{space}: [{{"role": "user", "content": "a", "content": "b"}}]}}\n'.encode()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.jsonl"
        path.write_bytes(line * 2)
        assert all("'content' appears twice" in told for told in converted(path, Path(folder) / "o.jsonl", "chat")[2])
        assert not (Path(folder) / "o.jsonl").exists()


LOOK = marks.Look(("value",), ("from", "id"), ("conversations",), may_be_empty=("input",))


def looks(chunk: bytes) -> list[marks.Seen]:
    """What is seen with and without hyperscan, where there is one."""
    fast = LOOK.by_hyperscan()
    return [LOOK.by_re(chunk), *([fast(chunk)] if fast is not None else [])]


@given(data=st.lists(st.sampled_from((b"\\", b"\\\\", b"u", b"/", b"b", b"f", b"n", b'"', b"x" * 70)), max_size=40))
@example(data=[b"\\\\"] * 40 + [b"u"])
@examples(400)
def test_escapes_are_told_from_escaped_backslashes_with_and_without_hyperscan(data: list[bytes]) -> None:
    chunk = b'"%b"}\n' % b"".join(data)  # hyperscan may miss an escape that the bytes end with; no row ends so
    wanted = any(step[1:] in (b"u", b"/", b"b", b"f") for step in re.findall(rb"\\.", chunk))
    assert [seen.escaped for seen in looks(chunk)] == [wanted] * len(looks(chunk))


@given(
    text=st.text(st.sampled_from(" \n\r\t\u2003\u3000\xa0\x85\u1680\u2028a\u2010\xa1"), max_size=5),
    key=st.sampled_from(("value", "input")),
)
@examples(200)
def test_blank_texts_are_seen_with_and_without_hyperscan(text: str, key: str) -> None:
    wanted = not text.strip() if key == "value" else bool(text) and text.isspace()
    for style in STYLES[:2]:
        chunk = json.dumps({"from": "human", key: text}, **style).encode()
        assert [seen.marked for seen in looks(chunk)] == [wanted] * len(looks(chunk))


@pytest.mark.parametrize("value", ["null", "7", "-1", "true", '["a"]', '{"a": "b"}', "\t7"])
def test_values_that_are_no_text_are_seen_with_and_without_hyperscan(value: str) -> None:
    chunk = f'{{"from": "human", "value": {value}}}'.encode()
    assert all(seen.marked for seen in looks(chunk))


MANY = [
    json.dumps(sharegpt([("human", f"row {n} é"), ("gpt", "x" * (n % 50))]), ensure_ascii=False) for n in range(600)
]


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("odd", [(), (300,), (0, 150, 599)])
def test_two_processes_write_and_tell_what_one_does(
    tmp_path: Path, odd: tuple[int, ...], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "active_count", lambda: count)
    monkeypatch.setattr(ranges, "LARGE_BYTES", 0)
    monkeypatch.setattr(ranges, "RANGE_BYTES", 5000)
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join("oops" if n in odd else line for n, line in enumerate(MANY)))
    one = converted(path, tmp_path / "one.jsonl", "sharegpt", 1)
    assert converted(path, tmp_path / "two.jsonl", "sharegpt", 2) == one
    assert bool(one[0]) == (not odd)


def test_a_process_that_dies_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "LARGE_BYTES", 0)
    monkeypatch.setattr(ranges, "RANGE_BYTES", 5000)
    monkeypatch.setattr(threading, "active_count", lambda: 2)  # no fork then, but a fresh interpreter
    monkeypatch.setattr(ranges, "_START", "raise SystemExit(9)")
    path, out = tmp_path / "train.jsonl", tmp_path / "out.jsonl"
    path.write_text("\n".join(MANY))
    with pytest.raises(DataError, match="exit status 9"):
        convert(Dataset.open(path), out, to="chat", workers=2)
    assert list(tmp_path.iterdir()) == [path]
