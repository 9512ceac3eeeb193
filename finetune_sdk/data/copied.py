"""Rows with rare features to lines of the `chat` format: their texts are copied as they stand, no example is made.

Like the way for plain rows (`straight`) this decides nothing: a row is taken only where the general way would write the
same bytes without a finding. Weights, names, parts, calls, tools, and a row's own keys are known; whatever is odder is
handed back alone. Keys that come twice are told by colons: those of the rows, and those of the lines.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from typing import Any

import msgspec
from msgspec import Raw, Struct

from finetune_sdk.data.chunked import Chunk
from finetune_sdk.data.copiedcalls import Odd
from finetune_sdk.data.copiedrow import Piece, Row, Speech, head_of, value_of
from finetune_sdk.data.copiedshapes import ChatRow, ShareGptRow, Write, Written, write_chat, write_sharegpt
from finetune_sdk.data.copiedtools import ToolLists
from finetune_sdk.data.copiedturns import CHAT, SHAREGPT
from finetune_sdk.data.counting import colons_in
from finetune_sdk.data.formats.messages import CHAT_KEYS
from finetune_sdk.data.report import Fault
from finetune_sdk.data.skeleton import is_plain
from finetune_sdk.data.straight import Block
from finetune_sdk.data.utf8 import is_utf8

_NOT_OWN = frozenset(("conversations", "conversation", "messages", *CHAT_KEYS))
_END = b"}]}\n"
"""What ends a row that holds nothing but turns, and seldom another one: those end with one brace more."""
_LIKELY = frozenset((_END, b']"}\n'))
"""What ends a row that holds tools beside its turns, or a prompt: either of them comes last."""
_PAUSE = 31
"""So many rows pass untried at most before the next one is tried."""
_ODD = (Odd, Fault, KeyError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


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
    shape: msgspec.json.Decoder[Any]
    """Of rows with calls and tools, and nothing else."""
    write: Write
    """Writes such a row."""


COPIED: Mapping[str, Copied] = {
    "sharegpt": Copied(
        ("conversations",),
        msgspec.json.Decoder(_ShareGpt),
        SHAREGPT,
        b'{"conversations"',
        True,
        msgspec.json.Decoder(ShareGptRow),
        write_sharegpt,
    ),
    "chat": Copied(
        ("messages", "conversations"),
        msgspec.json.Decoder(_Chat),
        CHAT,
        b'{"messages"',
        False,
        msgspec.json.Decoder(ChatRow),
        write_chat,
    ),
}
"""By the format that is read."""
_fields = msgspec.json.Decoder(dict[str, Raw])
_turns = msgspec.json.Decoder(list[dict[str, Raw]])


class _Tries:
    """Which rows are worth a try: after each that failed the next ones are not, twice as many each time."""

    __slots__ = ("_pause", "left")

    def __init__(self, left: int) -> None:
        self.left = left
        """So many rows pass untried."""
        self._pause = 0

    def worked(self) -> None:
        self._pause = 0

    def failed(self, *, again: bool) -> None:
        """`again`: the next one is tried after some have passed, otherwise not before there is a reason."""
        self._pause = min(2 * self._pause + 1, _PAUSE)
        self.left = self._pause if again else sys.maxsize

    def again(self) -> None:
        """There is a reason to try the next ones."""
        self.left = min(self.left, self._pause)


class Copying:
    """One file's trip."""

    def __init__(self, how: Copied) -> None:
        self._how = how
        self._turns_of = attrgetter(how.keys[0])
        self._tools = ToolLists()
        self._bare, self._others = _Tries(sys.maxsize), _Tries(0)
        """Which rows that hold nothing but turns, and which others, are tried as a whole."""

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

    def _row(self, line: bytes) -> Written | None:
        """None where the row is odd."""
        end = line[-4:]
        bare = end == _END and line[-5:-4] != b"}" and line.startswith(self._how.start)
        if end in _LIKELY:
            tries = self._bare if bare else self._others
            if tries.left:
                tries.left -= 1
            else:
                try:
                    found = self._how.write(self._how.shape.decode(line), self._tools)
                except _ODD:
                    tries.failed(again=not bare)
                else:
                    tries.worked()
                    return found
        row = Row()
        try:
            found = self._written(line, row, bare=bare), row.gained
        except _ODD:
            return None
        if bare and row.calls is not None:
            self._bare.again()
        return found

    def _written(self, line: bytes, row: Row, *, bare: bool) -> list[Piece]:
        how = self._how
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
                first, known, gained = self._tools(raw)
                row.gained += gained
            elif key == "parallel_tool_calls" and text in (b"true", b"false"):
                parallel = head_of(key) + text
            elif key == "chat_template_kwargs" and text[:1] == b"{":
                kwargs = head_of(key) + value_of(raw)
            else:
                raise Odd
        return (first, parallel, kwargs, *own), known


def _is_clean(data: bytes) -> bool:
    return is_plain(data) and is_utf8(data)


def _whole(chunk: Chunk, found: Sequence[Written | None]) -> Block | None:
    """All rows together; None where one is odd, or holds a key twice."""
    rows = [one for one in found if one is not None]
    if len(rows) < len(found):
        return None
    lines = b"".join(chain.from_iterable([row for row, _ in rows]))
    colons = colons_in(chunk.data) + sum([gained for _, gained in rows])
    return Block(lines, len(rows)) if colons_in(lines) == colons else None


def _alone(line: bytes, found: Written | None) -> bytes | None:
    if found is None:
        return None
    row = b"".join(found[0])
    return row if row.count(b":") == line.count(b":") + found[1] else None


def _block(rows: Sequence[bytes | None]) -> Block:
    return Block(b"".join([row for row in rows if row is not None]), len(rows))
