"""Well-formed CSV, many records at a time: cut at the quotes, where everything is in a quoted field or outside of them.

Python's `csv` looks at every character, this only at quotes and at what is outside of them. At the slightest doubt (a
quote in a field that has none around it, text after a closing one) it gives up: `csv` says what is wrong, and where.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import NamedTuple


class Doubtful(Exception):
    """Not plainly well-formed. Internal."""


class Record(NamedTuple):
    """The fields of a record, and the line it starts on."""

    line: int
    fields: list[bytes]


class Cut(NamedTuple):
    """Whole records, and what is left of the data for the next time."""

    records: list[Record]
    rest: bytes
    line: int
    """The line that `rest` begins with."""


def cut(data: bytes, sign: bytes, line: int, *, most: int) -> Cut:
    """All records that end in the data, which begins with one on that line; blank lines are skipped.

    Raises `Doubtful`, also when more than `most` bytes would be left.
    """
    parts = data.split(b'"')
    outside = parts[::2]
    if b"\r" in data:
        if data.count(b"\r") != data.count(b"\r\n"):
            raise Doubtful
        outside = [part.replace(b"\r\n", b"\n") for part in outside]
    state = _State(sign, line)
    between = [0, *[at for at, part in enumerate(outside) if part and at]]  # nothing outside: a doubled quote
    for here, there in zip_longest(between, between[1:]):
        before = outside[here]
        if before == b"\n" and here:
            state.end()
        elif before != sign or not here:
            state.outside(before, first=not here, last=there is None)
        if there is None:
            break
        cell = parts[2 * here + 1] if there == here + 1 else b'"'.join(parts[2 * here + 1 : 2 * there : 2])
        state.breaks += cell.count(b"\n")
        state.fields.append(cell)
    rest = _rest(parts)
    if len(rest) > most:
        raise Doubtful
    return Cut(state.found, rest, state.line)


class _State:
    """The record that is being put together, and those before it."""

    __slots__ = ("_sign", "breaks", "fields", "found", "line")

    def __init__(self, sign: bytes, line: int) -> None:
        self._sign = sign
        self.line = line
        self.found: list[Record] = []
        self.fields: list[bytes] = []
        self.breaks = 0
        """Line feeds within its fields so far."""

    def end(self) -> None:
        self.found.append(Record(self.line, self.fields))
        self.line += 1 + self.breaks
        self.fields, self.breaks = [], 0

    def outside(self, text: bytes, *, first: bool, last: bool) -> None:
        """Text after a quoted field, or the `first` one, and before the next one, unless it is the `last`."""
        sign = self._sign
        if not first and text[:1] not in (sign, b"\n"):
            raise Doubtful
        lines = (text[1:] if text[:1] == sign and not first else text).split(b"\n")
        more = lines[0].split(sign)
        if len(lines) > 1:
            if first and not lines[0]:
                self.line += 1
            else:
                self.fields += more if first or text[:1] == sign else []
                self.end()
            for line in lines[1:-1]:
                if line:
                    self.found.append(Record(self.line, line.split(sign)))
                self.line += 1
            more = lines[-1].split(sign)
        if not last:
            if more.pop():
                raise Doubtful
            self.fields += more


def _rest(parts: list[bytes]) -> bytes:
    """What follows the last line end outside of quotes."""
    for at in range((len(parts) - 1) // 2 * 2, -1, -2):
        end = parts[at].rfind(b"\n")
        if end >= 0:
            return b'"'.join([parts[at][end + 1 :], *parts[at + 1 :]])
    return b'"'.join(parts)
