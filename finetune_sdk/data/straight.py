"""Plain rows straight to lines of the `chat` format: a chunk is decoded, checked and encoded without examples.

A lane never decides what is right. It takes only rows that the general way would turn into the same bytes without a
finding, and hands back all others: unknown or duplicated keys, blank texts, marks of templates, a last turn that is
not the assistant's, anything malformed. Values are not even unescaped where that can be avoided.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from finetune_sdk.data.checks import TEXT_MARKS
from finetune_sdk.data.readers import lines_of
from finetune_sdk.data.utf8 import is_utf8

V = TypeVar("V", Raw, str)
"""A text: as it stands in the file, or decoded where its escapes have to be written anew."""


class _Turn(Struct, Generic[V], forbid_unknown_fields=True, gc=False):
    said_by: str = msgspec.field(name="from")
    value: V


class _ShareGpt(Struct, Generic[V], forbid_unknown_fields=True, gc=False):
    conversations: list[_Turn[V]]
    id: str | UnsetType = UNSET


class _Said(Struct, Generic[V], forbid_unknown_fields=True, gc=False):
    role: str
    content: V


class _Chat(Struct, Generic[V], forbid_unknown_fields=True, gc=False):
    messages: list[_Said[V]]
    id: str | UnsetType = UNSET


class _Alpaca(Struct, Generic[V], forbid_unknown_fields=True, gc=False):
    instruction: V
    output: V
    input: V | UnsetType = UNSET


class _Pair(Struct, Generic[V], forbid_unknown_fields=True, gc=False):
    prompt: V
    completion: V


class _Plain(Struct, gc=False):
    role: str
    content: Raw | str


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


class _Test(NamedTuple):
    """Whether a text needs no finding: `safe[start(text)[0]]` answers for most, `good(text)` for the others."""

    start: Callable[[Any], tuple[int]]
    safe: bytes
    good: Callable[[Any], bool]


Take: TypeAlias = Callable[[Any, _Test], tuple[_Out, int]]
"""A row of the `chat` format from a decoded row, and how many colons it gained. Raises `NotPlain`."""

_encoder = msgspec.json.Encoder()
_call_decoder = msgspec.json.Decoder(_OutCall)
_ROLES = {"human": "user", "gpt": "assistant", "system": "system"}
_CHAT_ROLES = frozenset(("system", "developer", "user", "assistant"))


def _from_sharegpt(row: _ShareGpt[Any], test: _Test) -> tuple[_Out, int]:
    start, safe, good = test
    out: list[Any] = []
    role = None
    for turn in row.conversations:
        value = turn.value
        if not safe[start(value)[0]] and not good(value):
            raise NotPlain
        role = _ROLES.get(turn.said_by)
        if role is None:
            return _from_tool_use(row, test)
        out.append(_Plain(role, value))
    if role != "assistant":
        raise NotPlain
    return _Out(out, row.id), 0


def _from_tool_use(row: _ShareGpt[Any], test: _Test) -> tuple[_Out, int]:
    start, safe, good = test
    out: list[Any] = []
    gained = calls = answers = 0
    for turn in row.conversations:
        value = turn.value
        if not safe[start(value)[0]] and not good(value):
            raise NotPlain
        role = _ROLES.get(turn.said_by)
        if role is not None:
            out.append(_Plain(role, value))
        elif turn.said_by == "function_call":
            calls += 1
            asked = _asked(value, f"call_{calls}")
            gained += asked.count(b":") - _text_bytes(value).count(b":") - 2
            out.append(Raw(asked))
        elif turn.said_by == "observation" and answers < calls:
            answers += 1
            gained += 1
            out.append(_Answered("tool", value, f"call_{answers}"))
        else:
            raise NotPlain
    if not out or row.conversations[-1].said_by not in ("gpt", "function_call"):
        raise NotPlain
    return _Out(out, row.id), gained


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


def _from_chat(row: _Chat[Any], test: _Test) -> tuple[_Out, int]:
    start, safe, good = test
    messages = row.messages
    for said in messages:
        content = said.content
        if said.role not in _CHAT_ROLES or not (safe[start(content)[0]] or good(content)):
            raise NotPlain
    if not messages or messages[-1].role != "assistant":
        raise NotPlain
    return _Out(messages, row.id), 0


def _from_alpaca(row: _Alpaca[Any], test: _Test) -> tuple[_Out, int]:
    good = test.good
    asked, given = row.instruction, row.input
    if not good(asked) or not good(row.output):
        raise NotPlain
    keys = 2
    if given is not UNSET:
        keys = 3
        if isinstance(given, str):
            if given and not good(given):
                raise NotPlain
            asked = f"{asked}\n{given}" if given else asked
        elif len(given) > 2:
            if not good(given):
                raise NotPlain
            asked = Raw(bytes(asked)[:-1] + b"\\n" + bytes(given)[1:])
        elif bytes(given) != b'""':
            raise NotPlain
    return _Out([_Plain("user", asked), _Plain("assistant", row.output)]), 5 - keys


def _from_pair(row: _Pair[Any], test: _Test) -> tuple[_Out, int]:
    good = test.good
    if not good(row.prompt) or not good(row.completion):
        raise NotPlain
    return _Out([_Plain("user", row.prompt), _Plain("assistant", row.completion)]), 3


@dataclass(frozen=True, slots=True)
class Straight:
    """How plain rows of one format become lines of the `chat` format."""

    raw: msgspec.json.Decoder[Any]
    text: msgspec.json.Decoder[Any]
    take: Take

    def lines(self, chunk: bytes) -> Block | None:
        """The finished lines, None where some row is not plain."""
        try:
            return self._lines(chunk)
        except (NotPlain, struct.error, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None

    def _lines(self, chunk: bytes) -> Block:
        if suspicious(chunk):
            raise NotPlain
        verbatim = is_verbatim(chunk)
        decode = (self.raw if verbatim else self.text).decode
        rows: list[Any] = [decode(line) for line in lines_of(chunk)]  # not `decode_lines`: one row on each line
        test = _RAW if verbatim else _TEXT
        take = self.take
        out: list[_Out] = []
        gained = 0
        for row in rows:
            done, more = take(row, test)
            out.append(done)
            gained += more
        lines = _encoder.encode_lines(out)
        if lines.count(b":") - chunk.count(b":") != gained:  # keys that came twice are in the chunk only
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

    def pieces(self, first: int, chunk: bytes) -> Iterator[tuple[int, bytes, Block | None]]:
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

    def _divided(self, first: int, chunk: bytes) -> Iterator[tuple[int, bytes, Block | None]]:
        block = self._lane.lines(chunk)
        if block is not None:
            yield first, chunk, block
            return
        lines = lines_of(chunk)
        if len(lines) == 1:
            self._odd += 1
            yield first, chunk, None
            return
        size = int(len(lines) ** 0.5) if len(lines) > 8 else 1
        for start in range(0, len(lines), size):
            yield from self._divided(first + start, b"".join(lines[start : start + size]))


def _lane(row: Any, take: Take) -> Straight:
    return Straight(msgspec.json.Decoder(row[Raw]), msgspec.json.Decoder(row[str]), take)


TO_CHAT: Mapping[str, Straight] = {
    "sharegpt": _lane(_ShareGpt, _from_sharegpt),
    "chat": _lane(_Chat, _from_chat),
    "alpaca": _lane(_Alpaca, _from_alpaca),
    "prompt-completion": _lane(_Pair, _from_pair),
}
"""By the format that is read."""

_TOKENS = re.compile(rb"<(?:\||/?s>|</?SYS|bos>|eos>|start_of_turn>|end_of_turn>|\xef\xbd\x9c)")
"""Whatever `SPECIAL_TOKEN` finds contains one of these, or `INST]`."""
_ODD_LETTERS = re.compile(
    rb"\xc3(?:\x83\xc2|\xa2\xe2\x82\xac|\x82\xc2)"
    rb"|\xe2(?:\x80[\x8b\xaa-\xae]|\x81[\xa0\xa6-\xa9])|\xef\xbb\xbf"
)
"""Whatever `MOJIBAKE` or `HIDDEN` finds contains one of these."""
_RARE_ESCAPE = re.compile(rb"\\\\*[u/bf]")


def suspicious(chunk: bytes) -> bool:
    """Whether some text as it stands may deserve a finding: a mark of a template, say. Sometimes wrong, never missing
    one; what escapes stand for is not looked at."""
    if b"INST]" in chunk or b"\x7f" in chunk or (b"<" in chunk and _TOKENS.search(chunk) is not None):
        return True
    return not chunk.isascii() and _ODD_LETTERS.search(chunk) is not None


def is_verbatim(chunk: bytes) -> bool:
    """Whether texts may be copied as they stand: valid UTF-8, and no escape that would be written another way."""
    for found in _RARE_ESCAPE.findall(chunk):
        if not len(found) % 2:  # an odd run of backslashes: the last one escapes what follows
            return False
    return is_utf8(chunk)


_start = struct.Struct("<H").unpack_from
_SAFE = bytearray(1 << 16)
"""By its first two bytes: whether a raw value is surely a text that is not blank."""
for _byte in range(0x21, 0x100):
    if _byte not in (0x22, 0x5C, 0xC2, 0xE1, 0xE2, 0xE3):  # a quote, an escape, what Unicode's spaces begin with
        _SAFE[0x22 | _byte << 8] = 1


_BLANK = re.compile(
    rb'"(?:\s|\\[nrt]|\xc2[\x85\xa0]|\xe1\x9a\x80|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]|\xe2\x81\x9f|\xe3\x80\x80)*+"'
)
"""A JSON string of nothing but spaces, as `str.isspace` knows them."""


def _good_raw(value: Any) -> bool:
    return _start(value)[0] & 0xFF == 0x22 and not _BLANK.fullmatch(value)


def _good_text(text: str) -> bool:
    """Whether a decoded text, whose escapes may have hidden anything from `suspicious`, needs no finding."""
    return not (not text or text.isspace() or any(mark.search(text) for mark in TEXT_MARKS))


_RAW = _Test(_start, bytes(_SAFE), _good_raw)


def _unsure(_text: str) -> tuple[int]:
    return (0,)


_TEXT = _Test(_unsure, b"\0", _good_text)
