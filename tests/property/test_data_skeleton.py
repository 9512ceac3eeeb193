"""Rows that are cut where their skeleton is hold what a parser finds in them, whatever stands between the cuts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from drawing import examples
from hypothesis import example, given
from hypothesis import strategies as st

from finetune_sdk.data import skeleton
from finetune_sdk.data.chunked import Chunk
from finetune_sdk.data.shapes import SHAREGPT, NotPlain
from finetune_sdk.data.straight import TO_CHAT

pytest.importorskip("ahocorasick_rs")
pytest.importorskip("simdjson")

ROLES = {"human": "user", "gpt": "assistant", "system": "system"}
START = '{"conversations": [{"from": "human", "value": "'
NEXT = '"}, {"from": "gpt", "value": "'
END = '"}]}'
FRAGMENTS = st.sampled_from(
    (
        *("a", "é", " ", "\\", "\\\\", '"', '\\"', ",", ":", "{", "}", "[", "]", "1", "null", "\t", "\r", "\n"),
        *('"}', '", "', '","', '" ,', '{"', '": "', '": ', '"}, {"k": "', '", "value": "', '", "from": "gpt'),
        *('"}, {"from": "human", "value": "', '"}, [{"z": "', '"}, {"k": [{"z": "', '"}]}, {"q": "', "\ufeff"),
        *(NEXT, NEXT, START, END, f"{END}\n", f"{END}\n{START}", '"},{"from":"gpt","value":"'),
        *("\\n", "\\u0041", "\\\\u0041", "\\/", "\\\\b", "\x7f", "<|"),
    )
)


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len({key for key, _ in pairs}) == len(pairs), "a key comes twice"
    return dict(pairs)


def cut(data: bytes) -> list[Any] | None:
    try:
        found = SHAREGPT.cut(data)
    except NotPlain:
        return None
    return None if found is None else [json.loads(line) for line in found[0].splitlines()]


def as_chat(line: bytes) -> dict[str, Any]:
    row = json.loads(line, object_pairs_hook=unique)
    assert list(row) == ["conversations"]
    assert all(list(turn) == ["from", "value"] for turn in row["conversations"])
    said = [(turn["from"], turn["value"]) for turn in row["conversations"]]
    return {"messages": [{"role": ROLES[role], "content": text} for role, text in said]}


@given(texts=st.lists(st.lists(FRAGMENTS, max_size=4).map("".join), min_size=2, max_size=4))
@example(texts=["x", 'y"}, {"k": [{"z": "q', 'y"}]}, {"q": "z', "yo"])
@example(texts=["x", 'y", "value": "human', "yo"])
@example(texts=['end\\", ', 'end",  '])
@examples(400)
def test_a_line_that_is_cut_holds_what_a_parser_finds(texts: list[str]) -> None:
    data = (START + NEXT.join(texts) + END + "\n").encode()
    found = cut(data)
    assert found is None or found == [as_chat(line) for line in data.split(b"\n")[:-1]]


@pytest.mark.parametrize("white", ["", " ", "\t", "\r", "  ", " \t", "\t ", "\r\r"])
@pytest.mark.parametrize("more", ['"{},{}"k": "', '"{}}},{}{{"k": "', '"}}{},{}{{"k": "'])
def test_a_key_or_a_turn_more_is_seen_whatever_stands_beside_it(more: str, white: str) -> None:
    for gaps in ((white, ""), ("", white), (white, white)):
        data = (START + "a" + more.format(*gaps) + "b" + NEXT + "c" + END + "\n").encode()
        assert json.loads(data)
        assert cut(data) is None


@pytest.mark.parametrize("gap", ["", " "])
@pytest.mark.parametrize("text", ["plain", 'he said "yes", then', "C:\\beta\\files", "a{\n\tb}", "<b>ü</b>", "\u3000x"])
def test_usual_rows_are_cut(gap: str, text: str) -> None:
    row = {"conversations": [{"from": "human", "value": text}, {"from": "gpt", "value": f"{text}."}]}
    line = json.dumps(row, ensure_ascii=False, separators=(f",{gap}", f":{gap}")).encode() + b"\n"
    said = [{"role": "user", "content": text}, {"role": "assistant", "content": f"{text}."}]
    assert cut(line * 3) == [{"messages": said}] * 3


def test_what_is_cut_is_written_as_what_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    call = json.dumps({"name": "f", "arguments": {"q": 'a "b": c'}})
    turns = [("human", "a"), ("function_call", call), ("observation", "é"), ("gpt", "b\n")]
    row = {"conversations": [{"from": role, "value": text} for role, text in turns]}
    chunk = Chunk((json.dumps(row, ensure_ascii=False) + "\n").encode() * 3)
    assert SHAREGPT.cut(chunk.data) is not None
    fast = TO_CHAT["sharegpt"].lines(chunk)
    monkeypatch.setattr(skeleton, "_LARGEST", 0)
    assert SHAREGPT.cut(chunk.data) is None
    assert fast == TO_CHAT["sharegpt"].lines(chunk) is not None


def test_a_number_of_more_than_64_bits_is_left_to_others() -> None:
    row = b'{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]%b}\n'
    assert cut(row % b"" + row % (b', "n": %d' % 10**30) + row % b"") is None


@pytest.mark.parametrize("text", ["", " ", "\n", "\u3000", "\u2003 ", "a\x7f", "a\u200b", "</s>", "\b"])
def test_texts_that_deserve_a_finding_are_left_to_others(text: str) -> None:
    row = {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": text}]}
    assert cut(json.dumps(row, ensure_ascii=False).encode() + b"\n") is None
