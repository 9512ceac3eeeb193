"""Rows with rare features to lines of the `chat` format: their texts are copied as they stand, no example is made.

Like the way for plain rows (`straight`) this decides nothing: a row is taken only where the general way would write the
same bytes without a finding. Weights, names, parts, calls, tools, and a row's own keys are known; whatever is odder is
handed back alone. Keys that come twice are told by colons: those of the rows, and those of the lines.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from typing import Any, TypeAlias

import msgspec
from msgspec import Raw, Struct

from finetune_sdk.data.copiedcalls import Odd
from finetune_sdk.data.copiedrow import Piece, Row, Speech, flat, value_of
from finetune_sdk.data.copiedturns import CHAT, SHAREGPT, as_json, head_of
from finetune_sdk.data.counting import colons_in
from finetune_sdk.data.formats.messages import CHAT_KEYS, tools
from finetune_sdk.data.readers import Chunk
from finetune_sdk.data.report import Fault
from finetune_sdk.data.skeleton import is_plain
from finetune_sdk.data.straight import Block
from finetune_sdk.data.strict import decode
from finetune_sdk.data.toolchecks import check_tools, tool_name
from finetune_sdk.data.utf8 import is_utf8

_MANY, _SHORT = 256, 8192
"""How many lists of tools are remembered, and up to how many bytes each."""
_NO_TOOLS = (b"null", b'""')
_Tools: TypeAlias = tuple[bytes, Collection[bytes], int]
"""How tools are written, the names of their functions as JSON, and how many colons they gain."""
_NOT_OWN = frozenset(("conversations", "conversation", "messages", *CHAT_KEYS))
_ENDS = (b"}]}\n", b"}]}")
"""What ends a row that holds nothing but turns, and seldom another one: those end so."""
_OTHER_ENDS = (b"}}]}\n", b"}}]}")
_Written: TypeAlias = tuple[list[Piece], int]
"""A row's line, and how many colons more it has than the row, unless a key comes twice there."""


class _ShareGpt(Struct, forbid_unknown_fields=True, gc=False):
    conversations: list[dict[str, Raw]]


class _Chat(Struct, forbid_unknown_fields=True, gc=False):
    messages: list[dict[str, Raw]]


@dataclass(frozen=True, slots=True)
class Copied:
    """How rows of one format are decoded."""

    keys: Sequence[str]
    """Those that the turns may stand under; the first one is the usual one."""
    row: msgspec.json.Decoder[Any]
    """Of rows that hold nothing else."""
    speech: Speech
    start: bytes
    """What such a row begins with, nearly always."""
    system: bool
    """Whether a system prompt may stand beside the turns."""


COPIED: Mapping[str, Copied] = {
    "sharegpt": Copied(("conversations",), msgspec.json.Decoder(_ShareGpt), SHAREGPT, b'{"conversations"', system=True),
    "chat": Copied(("messages", "conversations"), msgspec.json.Decoder(_Chat), CHAT, b'{"messages"', system=False),
}
"""By the format that is read."""
_fields = msgspec.json.Decoder(dict[str, Raw])
_turns = msgspec.json.Decoder(list[dict[str, Raw]])
_encoder = msgspec.json.Encoder()


class Copying:
    """One file's trip."""

    def __init__(self, how: Copied) -> None:
        self._how = how
        self._turns_of = attrgetter(how.keys[0])
        self._tools: dict[bytes, _Tools] = {}

    def pieces(self, first: int, chunk: Chunk) -> Iterator[tuple[int, Chunk, Block | None]]:
        """The chunk in pieces, each with its first line, and with its block unless its one row is odd."""
        clean = _is_clean(chunk.data)
        found = [self._row(line) if clean or _is_clean(line) else None for line in chunk.lines]
        block = _whole(chunk, found)
        if block is not None:
            yield first, chunk, block
            return
        rows = [_alone(line, row) for line, row in zip(chunk.lines, found, strict=True)]
        start = 0
        for at in [at for at, row in enumerate(rows) if row is None]:
            if start < at:
                yield first + start, chunk, _block(rows[start:at])
            yield first + at, Chunk(chunk.lines[at], [chunk.lines[at]]), None
            start = at + 1
        if start < len(rows):
            yield first + start, chunk, _block(rows[start:])

    def _row(self, line: bytes) -> _Written | None:
        """None where the row is odd."""
        row = Row()
        try:
            return self._written(line, row), row.gained
        except (Odd, Fault, KeyError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None

    def _written(self, line: bytes, row: Row) -> list[Piece]:
        how = self._how
        bare = line.startswith(how.start) and line.endswith(_ENDS) and not line.endswith(_OTHER_ENDS)
        turns = self._only_turns(line) if bare else None
        if turns is not None:
            row.speak(turns, how.speech)
            return row.line()
        fields = _fields.decode(line)
        for key in how.keys:
            if key in fields:
                turns = _turns.decode(fields.pop(key))
                break
        else:
            raise Odd
        if how.system and "system" in fields:
            row.system(bytes(fields.pop("system")))
        row.speak(turns, how.speech)
        return row.line(*self._after(fields, row))

    def _only_turns(self, line: bytes) -> Any:
        try:
            return self._turns_of(self._how.row.decode(line))
        except msgspec.ValidationError:
            return None

    def _after(self, fields: dict[str, Raw], row: Row) -> tuple[Sequence[bytes], Collection[bytes]]:
        """What follows the turns in the line, and the tools where there are some."""
        known: Collection[bytes] = ()
        first = parallel = kwargs = b""
        own: list[bytes] = []
        for key, raw in fields.items():
            if key not in _NOT_OWN:
                own += (head_of(key), value_of(raw))
                continue
            text = bytes(raw)
            if key == "tools":
                first, known, gained = self._shared(text)
                row.gained += gained
            elif key == "parallel_tool_calls" and text in (b"true", b"false"):
                parallel = head_of(key) + text
            elif key == "chat_template_kwargs" and text[:1] == b"{":
                kwargs = head_of(key) + value_of(raw)
            else:
                raise Odd
        return (first, parallel, kwargs, *own), known

    def _shared(self, text: bytes) -> _Tools:
        found = self._tools.get(text)
        if found is None:
            found = (b"", (), -1) if text in _NO_TOOLS else _read_tools(text)
            if len(text) < _SHORT and len(self._tools) < _MANY:
                self._tools[text] = found
        return found


def _read_tools(text: bytes) -> _Tools:
    value = decode(text)
    flat(text, value)
    read = tools(value, "tools") or []
    if next(check_tools([], read), None) is not None:
        raise Odd
    written = b',"tools":' + _encoder.encode(read)
    names = frozenset([as_json(tool_name(tool)) for tool in read])
    return written, names, written.count(b":") - 1 - text.count(b":")


def _is_clean(data: bytes) -> bool:
    return is_plain(data) and is_utf8(data)


def _whole(chunk: Chunk, found: Sequence[_Written | None]) -> Block | None:
    """All rows together; None where one is odd, or holds a key twice."""
    rows = [one for one in found if one is not None]
    if len(rows) < len(found):
        return None
    lines = b"".join(chain.from_iterable([row for row, _ in rows]))
    colons = colons_in(chunk.data) + sum([gained for _, gained in rows])
    return Block(lines, len(rows)) if colons_in(lines) == colons else None


def _alone(line: bytes, found: _Written | None) -> bytes | None:
    if found is None:
        return None
    row = b"".join(found[0])
    return row if row.count(b":") == line.count(b":") + found[1] else None


def _block(rows: Sequence[bytes | None]) -> Block:
    return Block(b"".join([row for row in rows if row is not None]), len(rows))
