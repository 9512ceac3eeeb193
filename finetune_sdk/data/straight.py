"""Plain rows straight to lines of the `chat` format: a chunk is decoded, checked and put together without examples.

A lane never decides what is right. It takes only rows that the general way would turn into the same bytes without a
finding, and hands back all others: unknown or duplicated keys, blank texts, marks of templates, a last turn that is
not the assistant's, anything malformed. Texts are copied as they stand wherever they would be written that way.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from finetune_sdk.data.checks import TEXT_MARKS
from finetune_sdk.data.chunked import Chunk
from finetune_sdk.data.marks import Look, Seen
from finetune_sdk.data.shapes import ALPACA, CHAT, PAIR, SHAREGPT, NotPlain, Shape, Taken
from finetune_sdk.data.utf8 import is_utf8


class Block(NamedTuple):
    """Finished lines."""

    lines: bytes
    rows: int


_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Straight:
    """How plain rows of one format become lines of the `chat` format."""

    shape: Shape
    look: Look

    def lines(self, chunk: Chunk) -> Block | None:
        """The finished lines, None where some row is not plain."""
        try:
            return self._lines(chunk)
        except (NotPlain, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None

    def _lines(self, chunk: Chunk) -> Block:
        data = chunk.data
        cut = self.shape.cut(data)
        if cut is not None:
            chunk.count = cut[1]
            return Block(*cut)
        seen = self.look(data)
        if seen.marked:
            raise NotPlain
        verbatim = not seen.escaped and is_utf8(data)
        if not verbatim and (b"\\u003a" in data or b"\\u003A" in data):  # a colon more, where keys are told by colons
            raise NotPlain
        decode = (self.shape.raw if verbatim else self.shape.text).decode
        rows: list[Any] = [decode(line) for line in chunk.lines]  # not `decode_lines`: one row on each line
        taken = self.shape.take(rows)
        if verbatim:
            _refuse_surplus(taken, data, seen)
        else:
            _to_json(taken)
        lines = taken.lines()
        if not verbatim and lines.count(b":") - data.count(b":") != taken.gained:  # keys that came twice are gone
            raise NotPlain
        return Block(lines, len(rows))


def _refuse_surplus(taken: Taken, data: bytes, seen: Seen) -> None:
    """Only rows with nothing but what was taken: keys that came twice would make them longer, as would odd spaces.

    Rows are written tight, or as `json.dumps` writes them. In the latter a missing space could make up for something
    else, so none may be missing.
    """
    names = [name for name in taken.names if name is not msgspec.UNSET]
    if any(bytes(name)[:1] != b'"' for name in names):
        raise NotPlain
    surplus = len(data) - taken.size - sum(map(len, taken.texts)) - sum(map(len, names))
    surplus += not data.endswith(b"\n")
    if data.endswith(b"\r\n"):
        surplus -= data.count(b"\r")
    if surplus and (surplus != taken.gaps or seen.tight):
        raise NotPlain


def _to_json(taken: Taken) -> None:
    """Texts and ids as JSON. Raises `NotPlain` where one needs a finding."""
    if not _good_text(taken.texts):
        raise NotPlain
    taken.texts = _encoder.encode_lines(taken.texts).split(b"\n")[:-1]
    taken.names = [name if name is msgspec.UNSET else _encoder.encode(name) for name in taken.names]


def _good_text(values: Sequence[str]) -> bool:
    """Whether none is blank or holds a mark, which escapes may have hidden."""
    return not any(not text or text.isspace() or any(mark.search(text) for mark in TEXT_MARKS) for text in values)


_GIVE_UP_AFTER = 3
"""Chunks in a row with many odd rows, after which a file goes the general way for good."""
_FEW = 24
"""Where odd rows have a quick way of their own, one of so many is worth taking a chunk apart, no more."""
_PAUSE = 32
"""Chunks that pass untried at most before the next one is tried."""


class Journey:
    """One file's trip through a lane: plain rows in blocks, the others by themselves, or, if `followed`, together.

    `followed`: rows that are handed back go another quick way, on which plain ones cost little more.
    """

    def __init__(self, lane: Straight, *, followed: bool = False) -> None:
        self._lane = lane
        self._followed = followed
        self._bad_chunks = 0
        self._left = 0
        """How many chunks pass untried."""
        self._odd = 0
        self._most = 0.0
        """How many odd rows of a chunk are told from plain ones."""

    def pieces(self, first: int, chunk: Chunk) -> Iterator[tuple[int, Chunk, Block | None]]:
        """The chunk in pieces, each with its first line, and with its block if it is plain."""
        if self._left:
            self._left -= 1
            yield first, chunk, None
            return
        block = self._lane.lines(chunk)
        if block is not None:
            self._bad_chunks = 0
            yield first, chunk, block
            return
        rows = len(chunk.lines)
        self._odd = 0
        self._most = rows / _FEW if self._followed else rows
        if rows > 1:
            yield from self._parts(first, chunk.lines)
        else:
            self._odd = 1
            yield first, chunk, None
        bad = self._odd > self._most if self._followed else 4 * self._odd > rows
        self._bad_chunks = self._bad_chunks + 1 if bad else 0
        if self._followed:
            self._left = min(1 << self._bad_chunks, _PAUSE) if bad else 0
        elif self._bad_chunks >= _GIVE_UP_AFTER:
            self._left = sys.maxsize

    def _divided(self, first: int, chunk: Chunk) -> Iterator[tuple[int, Chunk, Block | None]]:
        block = self._lane.lines(chunk)
        if block is not None:
            yield first, chunk, block
        elif len(chunk.lines) == 1:
            self._odd += 1
            yield first, chunk, None
        else:
            yield from self._parts(first, chunk.lines)

    def _parts(self, first: int, lines: Sequence[bytes]) -> Iterator[tuple[int, Chunk, Block | None]]:
        size = int(len(lines) ** 0.5) if len(lines) > 8 else 1
        for start in range(0, len(lines), size):
            if self._odd > self._most:
                left = list(lines[start:])
                yield first + start, Chunk(b"".join(left), left), None
                return
            some = list(lines[start : start + size])
            yield from self._divided(first + start, Chunk(b"".join(some), some))


TO_CHAT: Mapping[str, Straight] = {
    "sharegpt": Straight(SHAREGPT, Look(("value",), ("from", "id"), ("conversations",))),
    "chat": Straight(CHAT, Look(("content",), ("role", "id"), ("messages",))),
    "alpaca": Straight(ALPACA, Look(("instruction", "output"), ("input",), may_be_empty=("input",))),
    "prompt-completion": Straight(PAIR, Look(("prompt", "completion"))),
}
"""By the format that is read."""
