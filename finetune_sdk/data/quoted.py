"""Well-formed CSV, many records at a time: numpy finds where fields end, msgspec makes texts of what lies between.

At the slightest doubt (a quote in a field that has none around it, text after a closing one, bytes that are not UTF-8)
it gives up: `csv` says what is wrong, and where.
"""

from __future__ import annotations

import importlib
import struct
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec

_QUOTE, _FEED, _RETURN = b'"\n\r'
_STEP = 256 * 1024
"""Bytes looked at together: what numpy makes of them stays in the cache, and needs no new memory each time."""
_FEW = 32 * 1024
"""Places that fit the cache."""
FRONT = b'-----"\n'
"""Stands before the data: room for the head of a list, and for that of the first text."""
_LIST = 5
"""Bytes of the head of a list."""
_MOST = (0, 1 << 5, 1 << 8, 1 << 16)
"""How long texts may be less than, by the bytes of their heads."""
_PART = 128 * 1024
"""Bytes of which texts are made at once: they are used, and gone, while they are in the cache."""
_DROPPED, _GROWN = b"\xff", b"\xfe"
"""Marks, in no UTF-8: a byte that goes, and one that makes room for the head of a long text."""
_decode = msgspec.msgpack.Decoder(list[str]).decode


class Doubtful(Exception):
    """Not plainly well-formed, or numpy is missing. Internal."""


class Cut(NamedTuple):
    """Whole records, some after others."""

    cells: list[str]
    """The fields of all records."""
    ends: list[int]
    """For each record, how many of the cells there are up to its end."""
    lines: list[int]
    """The line each record starts on."""
    stop: int
    """Where in the data they end."""
    line: int
    """The line of what follows."""

    def after_first(self) -> Cut:
        """All records but the first one."""
        size = self.ends[0]
        return self._replace(cells=self.cells[size:], ends=[end - size for end in self.ends[1:]], lines=self.lines[1:])


def cut(data: bytearray, sign: bytes, line: int, *, most: int) -> Iterator[Cut]:
    """All records that end in the data, which begins after `FRONT` with one on that line; blank lines are skipped.

    What was given out is no more in the data afterwards. Raises `Doubtful`, also when more than `most` bytes would be
    left; what was not given out is as it was then.
    """
    np = _numpy()
    text = np.frombuffer(data, np.uint8)[len(FRONT) :]
    returns = b"\r" in data
    if returns and not (text.take(_places(np, text, _RETURN) + 1, mode="clip") == _FEED).all():
        raise Doubtful
    quotes, ends, feeds, passed = _find(np, text, sign[0])
    size = len(feeds) - int(feeds[::-1].argmax()) if feeds.any() else 0  # what follows is no whole record
    ends, feeds = ends[:size], feeds[:size]
    starts = np.append(0, ends + 1)
    stops = ends - (feeds & (text[ends - 1] == _RETURN)) if returns else ends
    whole = int(starts[-1])
    if len(text) - whole > most:
        raise Doubtful
    starts = starts[:-1]
    spare = [ends[stops < ends] - 1]
    lines = np.append(line, line + passed)
    blank = feeds & (starts == stops)
    blank[1:] &= feeds[:-1]
    if blank.any():
        spare.append(starts[blank] - 1)
        lines = lines[np.append(~blank[feeds], True)]
        starts, stops, feeds = starts[~blank], stops[~blank], feeds[~blank]
    second = quotes[2 : np.searchsorted(quotes, whole) : 2]
    second = second[second - 1 == quotes[1 : 2 * len(second) : 2]]  # of those that are doubled
    if not len(starts):
        yield Cut([], [], [], whole, int(lines[-1]))
        return
    fields = _Fields(starts, stops, second, np.concatenate([second, *spare]))
    firsts = np.append(0, feeds.nonzero()[0] + 1)  # of the fields of each record; then, how many there are
    yield from _cuts(np, data, fields, _Records(firsts, lines.tolist(), np.append(starts, whole)[firsts].tolist()))


@cache
def _numpy() -> Any:
    """Raises `Doubtful` where it is missing."""
    bytes(1 << 24)  # never touched: once so much was freed, glibc keeps a block's memory for the next (see mallopt(3))
    try:
        return importlib.import_module("numpy")
    except ImportError:
        raise Doubtful from None


class _Found(NamedTuple):
    quotes: Any
    ends: Any
    """Where fields end."""
    feeds: Any
    """Which of them end a record."""
    passed: Any
    """How many line feeds there are up to the end of each record."""


def _find(np: Any, text: Any, sign: int) -> _Found:
    """What ends fields: separators and line feeds outside of quotes, where few bytes are. Raises `Doubtful`."""
    quotes = _places(np, text, _QUOTE)
    _prove(text, sign, quotes)
    ends = [places[(signs == sign) | (signs == _FEED)] for places, signs in _outside(np, text, quotes)]
    found = np.concatenate([quotes[:0], *ends])
    feeds = text[found] == _FEED
    return _Found(quotes, found, feeds, _feeds(np, text, found[feeds]))


def _outside(np: Any, text: Any, quotes: Any) -> Iterator[tuple[Any, Any]]:
    """The places before, between and after what quotes enclose, and what is there, some after others."""
    starts = np.append(0, quotes[1::2] + 1)
    sizes = np.append(quotes[::2], len(text))[: len(starts)] - starts
    some = sizes > 0  # not those between doubled quotes
    starts, sizes = starts[some], sizes[some]
    after = np.cumsum(sizes)
    shifts = starts - (after - sizes)
    total = int(sizes.sum())
    for first, last in pairwise(
        sorted({0, len(sizes), *np.searchsorted(after, np.arange(_FEW, total, _FEW)).tolist()})
    ):
        places = np.repeat(shifts[first:last], sizes[first:last])
        begin = int(after[first] - sizes[first])
        places += np.arange(begin, begin + len(places))
        yield places, text[places]


def _places(np: Any, text: Any, sign: int) -> Any:
    return np.concatenate([marked.nonzero()[0] + start for start, marked in _steps(np, text, sign)])


def _steps(np: Any, text: Any, sign: int) -> Iterator[tuple[int, Any]]:
    """For some bytes after others: where they start, and which of them are the sign, until the next are asked for."""
    kept = np.empty(min(_STEP, len(text)), bool)
    for start in range(0, len(text), _STEP):
        step = text[start : start + _STEP]
        yield start, np.equal(step, sign, out=kept[: len(step)])


def _feeds(np: Any, text: Any, places: Any) -> Any:
    """How many line feeds there are up to each place, counted 64 bytes at a time."""
    bits = [np.packbits(marked, bitorder="little") for _, marked in _steps(np, text, _FEED)]
    words = np.concatenate([*bits, np.zeros(-len(bits[-1]) % 8, np.uint8)]).view("<u8")
    passed = np.cumsum(np.bitwise_count(words), dtype=np.int64)
    word = places >> 6
    return passed[word] - np.bitwise_count(words[word] >> (places & 63).astype(np.uint64) >> np.uint64(1))


def _prove(text: Any, sign: int, quotes: Any) -> None:
    """Raise `Doubtful` unless fields begin before each quote that opens, and end after each that closes."""
    opens, closes = quotes[::2], quotes[1::2]
    opens = opens[1:] if len(opens) and not opens[0] else opens
    closes = closes[:-1] if len(closes) and closes[-1] + 1 == len(text) else closes
    before, after = text[opens - 1], text[closes + 1]
    begun = (before == _QUOTE) | (before == sign) | (before == _FEED)
    ended = (after == _QUOTE) | (after == sign) | (after == _FEED) | (after == _RETURN)
    if not (begun.all() and ended.all()):
        raise Doubtful


class _Fields(NamedTuple):
    starts: Any
    """With the quote that opens one."""
    stops: Any
    second: Any
    """Of the quotes that are doubled, the second one."""
    spare: Any
    """Bytes that belong to no text and separate none."""


class _Records(NamedTuple):
    """For each record, and for what follows the last one."""

    firsts: Any
    """Which field is its first one."""
    lines: list[int]
    places: list[int]
    """Where in the data it begins."""


class _Heads(NamedTuple):
    """Of the texts, in MessagePack."""

    lengths: Any
    sizes: Any
    """How long the texts are."""
    stops: Any
    """Where the texts end."""
    dropped: Any
    """Where in the data bytes go."""
    grown: Any
    """Where in the data there must be room."""


def _cuts(np: Any, data: bytearray, fields: _Fields, records: _Records) -> Iterator[Cut]:
    """The texts between, made of what is MessagePack with a head before each text."""
    text = np.frombuffer(data, np.uint8)
    heads = _heads(np, text, fields)
    marked = np.concatenate([heads.dropped, heads.grown])
    meant = text[marked]
    text[heads.dropped], text[heads.grown] = _DROPPED[0], _GROWN[0]
    try:
        yield from _parts(np, _packed(np, data, heads), heads, records)
    except (UnicodeDecodeError, Doubtful):
        text[marked] = meant
        raise Doubtful from None


def _heads(np: Any, text: Any, fields: _Fields) -> _Heads:
    """What stands between two texts has the size of a head, unless the text is too long: marks make room for one."""
    starts, stops = fields.starts + len(FRONT), fields.stops + len(FRONT)
    quoted = text[starts] == _QUOTE
    follows = np.append(True, quoted[:-1])  # what ends with a quote
    sizes = stops - starts - 2 * quoted
    if len(fields.second):
        sizes -= np.bincount(np.searchsorted(fields.stops, fields.second), minlength=len(sizes))
    lengths = 1 + follows + quoted
    long = sizes >= np.array(_MOST)[lengths]
    lengths[long] = 5
    closed = np.append(len(FRONT) - 1, stops[:-1])[follows & long] - 1
    dropped = np.concatenate([fields.spare + len(FRONT), starts[quoted & long], closed])
    return _Heads(lengths, sizes, np.cumsum(sizes + lengths) + _LIST, dropped, starts[long] - 1)


def _packed(np: Any, data: bytearray, heads: _Heads) -> bytearray:
    """The texts with their heads, after room for that of a list. Raises `Doubtful` where bytes only look like marks."""
    packed = data.replace(_DROPPED, b"")
    packed = packed.replace(_GROWN, bytes(5)) if len(heads.grown) else packed
    if len(packed) != len(data) - len(heads.dropped) + 4 * len(heads.grown):
        raise Doubtful
    _put_heads(np.frombuffer(packed, np.uint8), heads.lengths, heads.sizes, heads.stops - heads.sizes)
    return packed


def _parts(np: Any, packed: bytearray, heads: _Heads, records: _Records) -> Iterator[Cut]:
    """Raises `UnicodeDecodeError` for what is not UTF-8."""
    firsts, lines, places = records
    stops = heads.stops[firsts[1:] - 1]
    bounds = np.searchsorted(stops, np.arange(0, stops[-1], _PART)).tolist()
    start = _LIST
    for first, last in pairwise(sorted({*bounds, len(stops)})):
        ends, stop = firsts[first : last + 1] - firsts[first], int(stops[last - 1])
        struct.pack_into(">BI", packed, start - _LIST, 0xDD, ends[-1])  # over what was given out
        with memoryview(packed)[start - _LIST : stop] as part:
            yield Cut(_decode(part), ends[1:].tolist(), lines[first:last], places[last], lines[last])
        start = stop


def _put_heads(packed: Any, heads: Any, sizes: Any, starts: Any) -> None:
    """Before each text, how long it is: in one byte, or after a sign in one, two or four."""
    packed[starts - 1] = 0xA0 | sizes
    for head, sign in ((2, 0xD9), (3, 0xDA), (5, 0xDB)):
        ones = (heads == head).nonzero()[0]
        at, size = starts[ones], sizes[ones]
        packed[at - head] = sign
        for byte in range(head - 1):
            packed[at - 1 - byte] = size >> 8 * byte & 0xFF
