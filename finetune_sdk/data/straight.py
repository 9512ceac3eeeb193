"""Plain rows straight to lines of the `chat` format: a chunk is decoded, checked and encoded without examples.

A lane never decides what is right. It takes only rows that the general way would turn into the same bytes without a
finding, and hands back all others: unknown or duplicated keys, blank texts, marks of templates, a last turn that is
not the assistant's, anything malformed. Values are not even unescaped where that can be avoided.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, Union

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, defstruct

from finetune_sdk.data.checks import TEXT_MARKS
from finetune_sdk.data.marks import has_escapes, is_marked
from finetune_sdk.data.readers import Chunk
from finetune_sdk.data.utf8 import is_utf8

_USUAL: dict[str, Any] = {"forbid_unknown_fields": True, "gc": False}


def _said(field: str, tag_field: str, text: Any, words: Sequence[str]) -> list[type[Struct]]:
    """A shape per speaker: which one it is, is known without looking at a text."""
    return [defstruct(word, [(field, text)], tag_field=tag_field, tag=word, **_USUAL) for word in words]


def _row(name: str, *fields: Any) -> type[Struct]:
    return defstruct(name, fields, **_USUAL)


_SPEAKERS = ("human", "gpt", "system", "function_call", "observation")
_ROLES = ("user", "assistant", "system", "developer")
_USER, _ASSISTANT, _SYSTEM, _DEVELOPER = _WRITTEN = _said("content", "role", Any, _ROLES)
_SAID: Mapping[str, type[Struct]] = {"human": _USER, "gpt": _ASSISTANT, "system": _SYSTEM}
_MADE: dict[Any, type[Struct]] = {}
"""By the class of a turn as it was read: what is written for it."""


def _sharegpt(text: Any) -> type[Struct]:
    speakers = _said("value", "from", text, _SPEAKERS)
    _MADE.update({speaker: _SAID[speaker.__name__] for speaker in speakers if speaker.__name__ in _SAID})
    turn: Any = Union[tuple(speakers)]  # noqa: UP007 - made from a list
    return _row("ShareGpt", ("conversations", list[turn]), ("id", str | UnsetType, UNSET))


def _chat(text: Any) -> type[Struct]:
    message: Any = Union[tuple(_said("content", "role", text, _ROLES))]  # noqa: UP007 - made from a list
    return _row("Chat", ("messages", list[message]), ("id", str | UnsetType, UNSET))


def _alpaca(text: Any) -> type[Struct]:
    return _row("Alpaca", ("instruction", text), ("output", text), ("input", text | UnsetType, UNSET))


def _pair(text: Any) -> type[Struct]:
    return _row("Pair", ("prompt", text), ("completion", text))


class _Function(Struct, gc=False):
    name: str
    arguments: str


class _Call(Struct, gc=False):
    id: str
    type: str
    function: _Function


class _Asked(Struct, gc=False):
    role: str
    tool_calls: list[_Call]


class _Answered(Struct, gc=False):
    role: str
    content: Raw | str
    tool_call_id: str


class _Out(Struct, gc=False):
    messages: list[Any]
    id: str | UnsetType = UNSET


class _OutCall(Struct, forbid_unknown_fields=True, gc=False):
    name: str
    arguments: dict[str, Any]


class Block(NamedTuple):
    """Finished lines."""

    lines: bytes
    rows: int


class NotPlain(Exception):
    """Some row of the chunk needs the general way. Internal."""


Good: TypeAlias = Callable[[Sequence[Any]], bool]
"""Whether none of these texts needs a finding."""
Take: TypeAlias = Callable[[Sequence[Any], Good], tuple[list[_Out], int]]
"""Rows of the `chat` format from decoded rows, and how many colons they gained. Raises `NotPlain`."""

_encoder = msgspec.json.Encoder()
_call_decoder = msgspec.json.Decoder(_OutCall)


def _from_sharegpt(rows: Sequence[Any], good: Good) -> tuple[list[_Out], int]:
    if not good([turn.value for row in rows for turn in row.conversations]):
        raise NotPlain
    made, last = _MADE, _ASSISTANT
    out: list[_Out] = []
    gained = 0
    for row in rows:
        try:
            said = [made[type(turn)](turn.value) for turn in row.conversations]
            if type(said[-1]) is not last:
                raise NotPlain
        except KeyError:
            said, more = _with_tools(row.conversations)
            gained += more
        out.append(_Out(said, row.id))
    return out, gained


def _with_tools(turns: Sequence[Any]) -> tuple[list[Any], int]:
    out: list[Any] = []
    gained = calls = answers = 0
    for turn in turns:
        make, text = _MADE.get(type(turn)), turn.value
        if make is not None:
            out.append(make(text))
        elif _word(turn) == "function_call":
            calls += 1
            asked = _asked(text, f"call_{calls}")
            gained += asked.count(b":") - _text_bytes(text).count(b":") - 2
            out.append(Raw(asked))
        elif answers < calls:
            answers += 1
            gained += 1
            out.append(_Answered("tool", text, f"call_{answers}"))
        else:
            raise NotPlain
    if _word(turns[-1]) not in ("gpt", "function_call"):
        raise NotPlain
    return out, gained


def _word(turn: object) -> str:
    return type(turn).__name__


def _text_bytes(value: Raw | str) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)


def _asked(value: Raw | str, call_id: str) -> bytes:
    """The message that asks for one function, from the JSON text in `value`."""
    try:
        text = value if isinstance(value, str) else msgspec.json.decode(value, type=str)
        call = _call_decoder.decode(text)
        arguments = _encoder.encode(call.arguments).decode()
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise NotPlain from None
    again = _encoder.encode(call)
    if again.count(b":") != text.count(":") or "\\u" in text:  # a duplicated key, or escapes that could hide one
        raise NotPlain
    return _encoder.encode(_Asked("assistant", [_Call(call_id, "function", _Function(call.name, arguments))]))


def _from_chat(rows: Sequence[Any], good: Good) -> tuple[list[_Out], int]:
    if not good([said.content for row in rows for said in row.messages]):
        raise NotPlain
    if any(_word(row.messages[-1]) != "assistant" for row in rows):
        raise NotPlain
    return [_Out(row.messages, row.id) for row in rows], 0


def _from_alpaca(rows: Sequence[Any], good: Good) -> tuple[list[_Out], int]:
    if not good([text for row in rows for text in (row.instruction, row.output)]):
        raise NotPlain
    keys = sum([2 if row.input is UNSET else 3 for row in rows])
    out = [_Out([_USER(_joined(row.instruction, row.input, good)), _ASSISTANT(row.output)]) for row in rows]
    return out, 5 * len(rows) - keys


def _joined(asked: Any, given: Any, good: Good) -> Any:
    if given is UNSET or given == "" or (isinstance(given, Raw) and bytes(given) == b'""'):
        return asked
    if not good((given,)):
        raise NotPlain
    return f"{asked}\n{given}" if isinstance(given, str) else Raw(bytes(asked)[:-1] + b"\\n" + bytes(given)[1:])


def _from_pair(rows: Sequence[Any], good: Good) -> tuple[list[_Out], int]:
    if not good([text for row in rows for text in (row.prompt, row.completion)]):
        raise NotPlain
    return [_Out([_USER(row.prompt), _ASSISTANT(row.completion)]) for row in rows], 3 * len(rows)


@dataclass(frozen=True, slots=True)
class Straight:
    """How plain rows of one format become lines of the `chat` format."""

    raw: msgspec.json.Decoder[Any]
    text: msgspec.json.Decoder[Any]
    take: Take

    def lines(self, chunk: Chunk) -> Block | None:
        """The finished lines, None where some row is not plain."""
        try:
            return self._lines(chunk)
        except (NotPlain, IndexError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None  # `IndexError`: a row without turns

    def _lines(self, chunk: Chunk) -> Block:
        data = chunk.data
        if is_marked(data):
            raise NotPlain
        verbatim = is_verbatim(data)
        decode = (self.raw if verbatim else self.text).decode
        rows: list[Any] = [decode(line) for line in chunk.lines]  # not `decode_lines`: one row on each line
        out, gained = self.take(rows, _good_raw if verbatim else _good_text)
        lines = _encoder.encode_lines(out)
        if lines.count(b":") - data.count(b":") != gained:  # keys that came twice are in the chunk only
            raise NotPlain
        return Block(lines, len(rows))


_GIVE_UP_AFTER = 3
"""Chunks in a row with many odd rows, after which a file goes the general way for good."""


class Journey:
    """One file's trip through a lane: plain rows in blocks, the others by themselves."""

    def __init__(self, lane: Straight) -> None:
        self._lane = lane
        self._bad_chunks = 0
        self._odd = 0

    def pieces(self, first: int, chunk: Chunk) -> Iterator[tuple[int, Chunk, Block | None]]:
        """The chunk in pieces, each with its first line, and with its block if it is plain."""
        if self._bad_chunks >= _GIVE_UP_AFTER:
            yield first, chunk, None
            return
        self._odd = 0
        rows = 0
        for line, piece, block in self._divided(first, chunk):
            rows += block.rows if block is not None else 1
            yield line, piece, block
        self._bad_chunks = self._bad_chunks + 1 if 4 * self._odd > rows else 0

    def _divided(self, first: int, chunk: Chunk) -> Iterator[tuple[int, Chunk, Block | None]]:
        block = self._lane.lines(chunk)
        if block is not None:
            yield first, chunk, block
            return
        lines = chunk.lines
        if len(lines) == 1:
            self._odd += 1
            yield first, chunk, None
            return
        size = int(len(lines) ** 0.5) if len(lines) > 8 else 1
        for start in range(0, len(lines), size):
            some = lines[start : start + size]
            yield from self._divided(first + start, Chunk(b"".join(some), some))


def _lane(shape: Callable[[Any], type[Struct]], take: Take) -> Straight:
    return Straight(msgspec.json.Decoder(shape(Raw)), msgspec.json.Decoder(shape(str)), take)


TO_CHAT: Mapping[str, Straight] = {
    "sharegpt": _lane(_sharegpt, _from_sharegpt),
    "chat": _lane(_chat, _from_chat),
    "alpaca": _lane(_alpaca, _from_alpaca),
    "prompt-completion": _lane(_pair, _from_pair),
}
"""By the format that is read."""


def is_verbatim(chunk: bytes) -> bool:
    """Whether texts may be copied as they stand: valid UTF-8, and no escape that would be written another way."""
    return not has_escapes(chunk) and is_utf8(chunk)


_BAD = re.compile(
    rb"\n(?:[^\"]"
    rb'|"(?:\s|\\[nrt]|\xc2[\x85\xa0]|\xe1\x9a\x80|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]|\xe2\x81\x9f|\xe3\x80\x80)*+")'
)
"""Among JSON values on lines of their own: one that is no string, or a string of what `str.isspace` calls spaces."""


def _good_raw(values: Sequence[Any]) -> bool:
    """Whether all are texts as they stand in a chunk without marks, and none is blank."""
    return _BAD.search(b"\n".join([b"", *values])) is None


def _good_text(values: Sequence[str]) -> bool:
    """The same for decoded texts, whose escapes may have hidden a mark."""
    return not any(not text or text.isspace() or any(mark.search(text) for mark in TEXT_MARKS) for text in values)
