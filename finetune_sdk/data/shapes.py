"""The exact shapes of plain rows, and how their texts are put together to lines of the `chat` format."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate, chain
from operator import attrgetter
from typing import Any, TypeAlias, Union

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, defstruct

from finetune_sdk.data.jsonvalue import INSIDE, MAX_DEPTH
from finetune_sdk.data.skeleton import Skeleton, Written, one_of

_USUAL: dict[str, Any] = {"forbid_unknown_fields": True, "gc": False}
_ROW = b'{"messages":['
_USER, _ASSISTANT, _SYSTEM, _DEVELOPER, _TOOL = _HEADS = tuple(
    b'},{"role":"%b","content":' % role for role in (b"user", b"assistant", b"system", b"developer", b"tool")
)
"""What stands before a text, and after the one before it."""
_CALL = b'},{"role":"assistant","tool_calls":'
"""Stands for a text that asks for a function, until it is known which one."""

ShapeName: TypeAlias = str


class NotPlain(Exception):
    """Some row of the chunk needs the general way. Internal."""


@dataclass(slots=True)
class Taken:
    """The texts of some rows in order, as JSON or still as strings, with what surrounds them."""

    heads: list[bytes]
    """What is written before each text."""
    texts: list[Any]
    turns: list[int]
    """How many of the texts belong to each row."""
    names: list[Any]
    """The ids of the rows, or UNSET."""
    size: int
    """How many bytes the rows have beside texts and ids, if they are written without spaces."""
    gaps: int
    """How many commas and colons there are, after each of which `json.dumps` writes a space."""
    gained: int = 0
    """How many colons the lines have more than the rows."""

    def lines(self) -> bytes:
        """The rows as lines of the `chat` format. Texts and ids are JSON by now; to be called once."""
        self._name_calls()
        pieces: list[Any] = [b""] * (2 * len(self.heads))
        pieces[::2] = self.heads
        pieces[1::2] = self.texts
        at, end = 0, b""
        for turns, name in zip(self.turns, self.names, strict=True):
            pieces[at] = end + _ROW + pieces[at][2:]  # the first turn of a row ends none
            end = b"}]}\n" if name is UNSET else b'}],"id":%b}\n' % name
            at += 2 * turns
        pieces.append(end)
        return b"".join(pieces)

    def _name_calls(self) -> None:
        """Give calls and answers the names that connect them; each answer belongs to a call before it in its row."""
        ends = list(accumulate(self.turns))
        row, calls, answers = -1, 0, 0
        for at in sorted((*_places(self.heads, _CALL), *_places(self.heads, _TOOL))):
            if row != (row := bisect_right(ends, at)):
                calls = answers = 0
            text = self.texts[at]
            if self.heads[at] is _CALL:
                calls += 1
                call = _numbered(calls, call_in(text))
                self.gained += call.count(b":") - bytes(text).count(b":")
                self.heads[at], self.texts[at] = _CALL + call, b""
            elif answers < calls:
                answers += 1
                self.gained += 1
                self.texts[at] = b'%b,"tool_call_id":"call_%d"' % (text, answers)
            else:
                raise NotPlain


def _places(heads: Sequence[bytes], head: bytes) -> Iterator[int]:
    """Where it stands."""
    at = -1
    with suppress(ValueError):
        while True:
            at = heads.index(head, at + 1)
            yield at


Take: TypeAlias = Callable[[Sequence[Any]], Taken]
"""What rows hold. Raises `NotPlain`."""


class _OutCall(Struct, forbid_unknown_fields=True, gc=False):
    name: str
    arguments: dict[str, Any]


class _Function(Struct, gc=False):
    name: str
    arguments: str


class _Asked(Struct, gc=False):
    type: str
    function: _Function


_encoder = msgspec.json.Encoder()
_text_decoder = msgspec.json.Decoder(str)
_call_decoder = msgspec.json.Decoder(_OutCall)


def _numbered(number: int, call: bytes) -> bytes:
    """A list of one call, with its id."""
    return b'[{"id":"call_%d",%b]' % (number, call[1:])


def call_in(value: bytes) -> bytes:
    """The one call that the JSON text in `value` describes. Raises `NotPlain`."""
    try:
        text = _text_decoder.decode(value)
        call = _call_decoder.decode(text)
        arguments = _encoder.encode(call.arguments).decode()
        found = _encoder.encode(_Asked("function", _Function(call.name, arguments)))
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise NotPlain from None
    colons = 2 + call.name.count(":") + arguments.count(":")
    if colons != text.count(":") or "\\u" in text:  # a duplicated key, or escapes that could hide one
        raise NotPlain
    if arguments.count("[") + arguments.count("{") > MAX_DEPTH - INSIDE:  # it may be nested too deeply
        raise NotPlain
    return found


@dataclass(frozen=True, slots=True)
class Shape:
    """How rows of one format are decoded, and what they hold."""

    raw: msgspec.json.Decoder[Any]
    """Texts stay the JSON they are."""
    text: msgspec.json.Decoder[Any]
    take: Take
    cut: Callable[[bytes], tuple[bytes, int] | None] = lambda _data: None
    """The lines, and how many, of rows that are written the usual way, without decoding. Raises `NotPlain`."""


def _spoken(rows_key: str, role_key: str, text_key: str, heads: Mapping[str, bytes], last: frozenset[bytes]) -> Shape:
    """Rows that are a list of turns, one of `last` at the end."""
    head_of: dict[type, bytes] = {}
    size_of: dict[type, int] = {}
    get_turns, get_text, get_name = attrgetter(rows_key), attrgetter(text_key), attrgetter("id")

    def decoder(text: Any) -> msgspec.json.Decoder[Any]:
        kinds: list[type[Struct]] = []
        for word, head in heads.items():  # a shape for each speaker: who it is, is known without looking at a text
            kind = defstruct(word, [(text_key, text)], tag_field=role_key, tag=word, **_USUAL)
            head_of[kind], size_of[kind] = head, len(f'{{"{role_key}":"{word}","{text_key}":}},')
            kinds.append(kind)
        turn: Any = Union[tuple(kinds)]  # noqa: UP007 - made from a list
        row = defstruct("Row", [(rows_key, list[turn]), ("id", text | UnsetType, UNSET)], **_USUAL)
        return msgspec.json.Decoder(row)

    bare, named = len(f'{{"{rows_key}":[]}}\n') - 1, len(',"id":')  # no comma follows the last turn

    def take(rows: Sequence[Any]) -> Taken:
        lists = list(map(get_turns, rows))
        turns = list(chain.from_iterable(lists))
        kinds = list(map(type, turns))
        said = list(map(head_of.__getitem__, kinds))
        counts = list(map(len, lists))
        if not all(counts) or not last.issuperset([said[end - 1] for end in accumulate(counts)]):
            raise NotPlain
        names = list(map(get_name, rows))
        ids = len(names) - names.count(UNSET)
        size = bare * len(rows) + sum(map(size_of.__getitem__, kinds)) + named * ids
        return Taken(said, list(map(get_text, turns)), counts, names, size, 4 * len(turns) + 2 * ids)

    return Shape(decoder(Raw), decoder(str), take, _cutter((rows_key, role_key, text_key), heads, last))


def _cutter(
    keys: tuple[str, str, str], heads: Mapping[str, bytes], last: frozenset[bytes]
) -> Callable[[bytes], tuple[bytes, int] | None]:
    bare = {word: head[2:] if head is _CALL else head[2:] + b'"' for word, head in heads.items()}
    ends = [word for word, head in heads.items() if head in last]
    skeleton = Skeleton(keys, Written(bare, row=_ROW, end=b'"}]}\n', last=ends))
    count = len(heads)
    kinds = list(heads.values())
    places = [code for code in range(2 * count) if kinds[code % count] in (_CALL, _TOOL)]
    special = re.compile(one_of(places), re.DOTALL)
    begins = bytes(code < count for code in range(256))

    def name_calls(pieces: list[Any], words: bytes) -> None:
        row = calls = answered = -1
        rows = words.translate(begins)
        for match in special.finditer(words):
            at = match.start()
            if row != (row := rows.rfind(b"\1", 0, at + 1)):
                calls = answered = 0
            text = pieces[2 * at + 1]
            if kinds[words[at] % count] is _CALL:
                calls += 1
                pieces[2 * at + 1] = _numbered(calls, call_in(b'"%b"' % text))
                pieces[2 * at + 2] = pieces[2 * at + 2][1:]
            elif answered < calls:
                answered += 1
                pieces[2 * at + 2] = b'","tool_call_id":"call_%d' % answered + pieces[2 * at + 2]
            else:
                raise NotPlain

    def cut(data: bytes) -> tuple[bytes, int] | None:
        found = skeleton.cut(data)
        if found is None:
            return None
        if places:
            name_calls(found.pieces, found.words)
        return b"".join(found.pieces), found.rows

    return cut


def _single(asked_key: str, said_key: str, given_key: str | None = None) -> Shape:
    """Rows that are one question and one answer; `given` goes below the question."""
    get_asked, get_said = attrgetter(asked_key), attrgetter(said_key)
    bare = len(f'{{"{asked_key}":,"{said_key}":}}\n')

    def decoder(text: Any) -> msgspec.json.Decoder[Any]:
        more = [(given_key, text | UnsetType, UNSET)] if given_key else []
        return msgspec.json.Decoder(defstruct("Row", [(asked_key, text), (said_key, text), *more], **_USUAL))

    def take(rows: Sequence[Any]) -> Taken:
        texts: list[Any] = [b""] * (2 * len(rows))
        texts[::2] = map(get_asked, rows)
        texts[1::2] = map(get_said, rows)
        count = len(rows)
        taken = Taken([_USER, _ASSISTANT] * count, texts, [2] * count, [UNSET] * count, bare * count, 3 * count)
        taken.gained = 3 * count
        if given_key:
            _join(taken, list(map(attrgetter(given_key), rows)), len(f',"{given_key}":'))
        return taken

    return Shape(decoder(Raw), decoder(str), take)


def _join(taken: Taken, given: Sequence[Any], size: int) -> None:
    for at, more in enumerate(given):
        if more is UNSET:
            continue
        taken.size += size
        taken.gaps += 2
        taken.gained -= 1
        asked = taken.texts[2 * at]
        if isinstance(more, str):
            if more.isspace():
                raise NotPlain
            taken.texts[2 * at] = f"{asked}\n{more}" if more else asked
        elif bytes(more) == b'""':
            taken.size += 2
        else:
            taken.texts[2 * at] = bytes(asked)[:-1] + b"\\n" + bytes(more)[1:]


SHAREGPT = _spoken(
    "conversations",
    "from",
    "value",
    {"human": _USER, "gpt": _ASSISTANT, "system": _SYSTEM, "function_call": _CALL, "observation": _TOOL},
    frozenset((_ASSISTANT, _CALL)),
)
CHAT = _spoken(
    "messages",
    "role",
    "content",
    {"user": _USER, "assistant": _ASSISTANT, "system": _SYSTEM, "developer": _DEVELOPER},
    frozenset((_ASSISTANT,)),
)
ALPACA = _single("instruction", "output", "input")
PAIR = _single("prompt", "completion")
