"""Well-formed CSV, many records at a time: numpy finds where fields end, pyarrow makes texts of what lies between.

At the slightest doubt (a quote in a field that has none around it, text after a closing one, bytes that are not UTF-8)
it gives up: `csv` says what is wrong, and where.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any, NamedTuple

_QUOTE, _FEED, _RETURN = b'"\n\r'
_STEP = 256 * 1024
"""Bytes looked at together: what numpy makes of them stays in the cache, and needs no new memory each time."""
_SAMPLE = 4096
"""Bytes that tell whether it is worth looking if all fields are quoted."""


class Doubtful(Exception):
    """Not plainly well-formed, or numpy or pyarrow is missing. Internal."""


class Cut(NamedTuple):
    """Whole records, and what is left of the data for the next time."""

    cells: list[str]
    """The fields of all records."""
    ends: list[int]
    """For each record, how many of the cells there are up to its end."""
    lines: list[int]
    """The line each record starts on."""
    rest: bytes
    line: int
    """The line that `rest` begins with."""

    def after_first(self) -> Cut:
        """All records but the first one."""
        size = self.ends[0]
        return self._replace(cells=self.cells[size:], ends=[end - size for end in self.ends[1:]], lines=self.lines[1:])


def cut(data: bytes | bytearray, sign: bytes, line: int, *, most: int) -> Cut:
    """All records that end in the data, which begins with one on that line; blank lines are skipped.

    Raises `Doubtful`, also when more than `most` bytes would be left.
    """
    try:
        np: Any = importlib.import_module("numpy")
        importlib.import_module("pyarrow")
    except ImportError:
        raise Doubtful from None
    returns = b"\r" in data
    if returns and data.count(b"\r") != data.count(b"\r\n"):
        raise Doubtful
    text = np.frombuffer(data, np.uint8)
    found = None
    if data[:1] == b'"' and not returns and _find_quoted(np, text[:_SAMPLE], sign[0]):
        found = _find_quoted(np, text, sign[0])
    quotes, ends, feeds, passed = found or _find(np, text, sign[0])
    size = len(feeds) - int(feeds[::-1].argmax()) if feeds.any() else 0  # what follows is no whole record
    ends, feeds = ends[:size], feeds[:size]
    starts = np.append(0, ends + 1).astype(np.int32)
    stops = ends - (feeds & (text[ends - 1] == _RETURN)) if returns else ends
    rest = bytes(data[starts[-1] :])
    if len(rest) > most:
        raise Doubtful
    starts = starts[:-1]
    lines = np.append(line, line + passed)
    blank = feeds & (starts == stops)
    blank[1:] &= feeds[:-1]
    if blank.any():
        lines = lines[np.append(~blank[feeds], True)]
        starts, stops, feeds = starts[~blank], stops[~blank], feeds[~blank]
    own = text[starts] == _QUOTE
    pairs = quotes[1:-1:2][quotes[1:-1:2] + 1 == quotes[2::2]]
    pairs = pairs[: np.searchsorted(pairs, len(data) - len(rest))]
    cells = _texts(np, data, starts + own, stops - own, pairs)
    return Cut(cells, (feeds.nonzero()[0] + 1).tolist(), lines[:-1].tolist(), rest, int(lines[-1]))


class _Found(NamedTuple):
    quotes: Any
    ends: Any
    """Where fields end."""
    feeds: Any
    """Which of them end a record."""
    passed: Any
    """How many line feeds there are up to the end of each record."""


def _find_quoted(np: Any, text: Any, sign: int) -> _Found | None:
    """What ends fields if all of them are quoted, with one byte between two; otherwise None."""
    quotes = _places(np, text, _QUOTE)
    closes, opens = quotes[1::2], quotes[2::2]
    if len(closes) > len(opens):
        if closes[-1] + 2 < len(text):
            return None
        opens = np.append(opens, closes[-1] + 2)
    apart = opens - closes  # 1 where a quote is doubled
    ends = closes[apart == 2] + 1
    ends = ends[: np.searchsorted(ends, len(text))]
    signs = text[ends]
    feeds = signs == _FEED
    if (apart > 2).any() or not (feeds | (signs == sign)).all():
        return None
    return _Found(quotes, ends, feeds, _feeds(np, text, ends[feeds]))


def _places(np: Any, text: Any, *signs: int) -> Any:
    """Where one of the signs is."""
    found: list[Any] = []
    for start, marked in _steps(np, text, signs[0]):
        for sign in signs[1:]:
            marked |= text[start : start + _STEP] == sign  # noqa: PLW2901  what is looped over is one piece of memory
        found.append(marked.nonzero()[0] + start)
    return np.concatenate(found).astype(np.int32)


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


def _find(np: Any, text: Any, sign: int) -> _Found:
    """What ends fields: separators and line feeds outside of quotes. Raises `Doubtful`."""
    at = _places(np, text, _QUOTE, sign, _FEED)
    signs = text[at]
    quoting = signs == _QUOTE
    outside = (np.cumsum(quoting, dtype=np.uint8) & 1 == 0) & ~quoting
    feeds = signs == _FEED
    passed = np.cumsum(feeds)[feeds & outside]
    quotes = at[quoting]
    _prove(text, sign, quotes)
    return _Found(quotes, at[outside], feeds[outside], passed)


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


def _texts(np: Any, data: bytes | bytearray, starts: Any, stops: Any, pairs: Any) -> list[str]:
    """What lies between, each pair of quotes within made one. Raises `Doubtful` if it is not UTF-8."""
    arrow: Any = importlib.import_module("pyarrow")
    begins = np.append(starts << 1 | 1, pairs + 2 << 1)  # odd where a text begins, even where it goes on
    begins.sort()
    size = len(begins)
    bounds = np.empty(2 * size + 1, np.int32)
    bounds[-1] = len(data)
    bounds[:-1:2] = begins >> 1
    bounds[1::2] = np.sort(np.append(stops, pairs + 1))
    pieces = _array(arrow, bounds, data).take(arrow.array(np.arange(0, 2 * size, 2, dtype=np.int32)))
    _, offsets, joined = pieces.buffers()
    whole = np.append((begins & 1 == 1).nonzero()[0], size)
    try:
        texts: list[str] = (
            _array(arrow, np.frombuffer(offsets, np.int32)[whole], joined).to_numpy(zero_copy_only=False).tolist()
        )
    except arrow.ArrowException:
        raise Doubtful from None
    return texts


def _array(arrow: Any, bounds: Any, texts: Any) -> Any:
    return arrow.StringArray.from_buffers(len(bounds) - 1, arrow.py_buffer(bounds), arrow.py_buffer(texts))
