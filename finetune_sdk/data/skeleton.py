"""Conversations written the usual way, cut where their skeleton is: what stands between two cuts is a text.

A chunk is searched once for what stands between two texts, and for all that must not be. simdjson tells whether each
line is JSON in UTF-8. In such a line a text that ended before its cut would be followed by one of `_CLOSED`: none is
found beside the skeleton. So every turn has its two keys, every row its turns, and nothing else. Whatever looks
otherwise is left to others.
"""

from __future__ import annotations

import importlib
import re
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from operator import itemgetter, truth
from typing import Any, NamedTuple, TypeAlias

from finetune_sdk.data.marks import DELETE, MARKS, is_clean

Match: TypeAlias = tuple[int, int, int]
"""Which pattern was found, from where to where."""
Find: TypeAlias = Callable[[bytes], list[Match]]
"""The leftmost first, then the next one behind it."""

_END = b'"}]}\n'
_CLOSED = (
    *(b'", "', b'","', b'",  ', b'",\t', b'",\r', b'", \t', b'", \r'),
    *(b'" ' + sign for sign in (b",", b"}", b" ", b"\t", b"\r")),
    *(b'"}' + sign for sign in (b",", b"]", b"}", b" ", b"\t", b"\r")),
)
"""What may follow the text of a key in a line of JSON, unless the quote is escaped; for the rest see `_SHORT`."""
_ESCAPES = tuple(b"\\" + sign for sign in (b"u", b"/", b"b", b"f"))
"""Written another way, unless the backslash is escaped itself. The other escapes of JSON are written as they are."""
_SHORT = (*_ESCAPES, b'"\t', b'"\r', *(mark for mark in MARKS if len(mark) == 2))
"""Searched for apart. The search for the others is fast while there are at most 64, none of less than three bytes."""
_LONG_MARKS = tuple(mark for mark in MARKS if len(mark) > 2)
_BAD_ENDS = (b"\2\1", b"\2\3", b"\3\1", b"\3\3")
"""Two turns, 1 for one that begins a row, plus 2 for one that may not end it."""
_PATTERN = itemgetter(0)
_LARGEST = 1 << 20
"""Larger chunks hold a very long line; the parser needs a multiple of its size."""
_BLANK = re.compile(
    rb"(?:[ ]|\\[nrt]|\xc2[\x85\xa0]|\xe1\x9a\x80|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]|\xe2\x81\x9f|\xe3\x80\x80)*"
)
"""A text of nothing but what `str.isspace` calls a space."""
_MAY_BE_BLANK = re.compile(rb'[ "\\\xc2\xe1\xe2\xe3]')
"""How such a text begins, with the quote that ends it where it is empty."""


class Cut(NamedTuple):
    """Rows as they are to be written."""

    pieces: list[Any]
    """In turn what stands between texts, with the quotes, and a text without them.

    No text is blank, or marked, or would be written another way."""
    words: bytes
    """Who speaks, for each turn: the number of the word, and as many as there are words more if no row begins."""
    rows: int


@dataclass(frozen=True, slots=True)
class Written:
    """How rows are written."""

    heads: Mapping[str, bytes]
    """What stands before a text in place of the skeleton, for each speaker."""
    row: bytes
    """What begins a row."""
    end: bytes
    """What ends one, after its last text."""
    last: Collection[str]
    """Who may speak last."""


class Skeleton:
    """How rows of one format look between their texts: as `json.dumps` writes them, or without spaces.

    The keys are that of the turns, and in each those of the speaker and the text, in this order.
    """

    def __init__(self, keys: tuple[str, str, str], written: Written) -> None:
        self._styles = [_Style(keys, written, gap) for gap in ("", " ")]

    def cut(self, data: bytes) -> Cut | None:
        """What whole lines hold; None where they look otherwise."""
        if len(data) > _LARGEST or not data.endswith(_END):
            return None
        for style in self._styles:
            if data.startswith(style.row):
                return style.cut(data)
        return None


class _Style:
    def __init__(self, keys: tuple[str, str, str], written: Written, gap: str) -> None:
        heads, row, end = written.heads, written.row, written.end
        rows_key, role_key, text_key = keys
        turns = [f'{{"{role_key}":{gap}"{word}",{gap}"{text_key}":{gap}"'.encode() for word in heads]
        self.row = f'{{"{rows_key}":{gap}['.encode()
        begin = [self.row + turn for turn in turns]
        later = f'"}},{gap}'.encode()
        skeleton = [*(_END + turn for turn in begin), *(later + turn for turn in turns)]
        self._patterns = (*skeleton, *begin, *_CLOSED, *_LONG_MARKS)
        self._first = {len(skeleton) + at: (at, row + head) for at, head in enumerate(heads.values())}
        self._heads = [*(end + row + head for head in heads.values()), *(b'"},' + head for head in heads.values())]
        self._end = end
        count = len(turns)
        self._rows = bytes(range(count))
        self._unusual = bytes(range(len(skeleton), 256))
        may_end = [word in written.last for word in heads]
        self._kinds = bytes((code < count) + 2 * (not may_end[code % count]) for code in range(256))
        one_quote = [name for name in _CLOSED if name.count(b'"') == 1]  # a second one may end the text
        self._escapable = frozenset(map(self._patterns.index, one_quote))
        self._find = cache(_finder)

    def cut(self, data: bytes) -> Cut | None:
        find = self._find(self._patterns)
        if find is None or _odd(data):
            return None
        found = find(data)
        first, last = found[0], found.pop()
        if first[1] or first[0] not in self._first or last[1] != len(data) - len(_END):
            return None
        del found[0]
        word, head = self._first[first[0]]
        words = bytes([word]) + bytes(map(_PATTERN, found)).translate(None, self._unusual)
        rows = len(words) - len(words.translate(None, self._rows))
        if self._ends_badly(words) or rows != _objects(data):
            return None
        pieces = self._pieces(data, head, first[2], found)
        return Cut(pieces, words, rows) if pieces else None

    def _ends_badly(self, words: bytes) -> bool:
        """Whether the last turn of a row is by somebody who may not be the last."""
        kinds = words.translate(self._kinds) + b"\1"
        return any(pair in kinds for pair in _BAD_ENDS)

    def _pieces(self, data: bytes, head: bytes, at: int, found: Sequence[Match]) -> list[Any]:
        """Nothing where a text is blank, or something is beside the skeleton and no part of a text."""
        heads, usual, view = self._heads, len(self._heads), memoryview(data)
        pieces: list[Any] = [head]
        add = pieces.append
        begin = bytearray()
        note = begin.append
        for pattern, start, end in found:
            if pattern < usual:
                note(data[at])
                add(view[at:start])
                add(heads[pattern])
                at = end
            elif pattern not in self._escapable or not _is_escaped(data, start):
                return []
        note(data[at])
        add(view[at : -len(_END)])
        add(self._end)
        if any(_BLANK.fullmatch(pieces[2 * match.start() + 1]) for match in _MAY_BE_BLANK.finditer(begin)):
            return []
        return pieces


def is_plain(data: bytes) -> bool:
    """Whether no text in lines of JSON deserves a finding or would be written another way: `is_clean`, told faster.

    Odd spaces beside texts are taken for such a sign.
    """
    find = _marks()
    return is_clean(data) if find is None else not (find(data) or _odd(data))


def _odd(data: bytes) -> bool:
    """Whether something short deserves a finding, would be written another way, or may stand beside a text."""
    if DELETE in data:
        return True
    escapes = len(_ESCAPES)
    for code, at, _ in _short()(data):
        if code >= escapes or data[at - 1] != 0x5C or (data[at - 2] == 0x5C and not _is_escaped(data, at)):
            return True
    return False


def _is_escaped(data: bytes, at: int) -> bool:
    """Whether an odd number of backslashes stands before."""
    start = at
    while data[start - 1] == 0x5C:
        start -= 1
    return (at - start) % 2 == 1


def one_of(codes: Iterable[int]) -> bytes:
    """A pattern for one byte; for none, where there are no codes."""
    signs = b"".join(rb"\x%02x" % code for code in codes)
    return b"[%b]" % signs if signs else b"(?!)"


def _finder(patterns: Sequence[bytes]) -> Find | None:
    """Where the library is installed. Looking for the leftmost alone lets it compare many bytes at a time."""
    try:
        library: Any = importlib.import_module("ahocorasick_rs")
        found: Find = library.BytesAhoCorasick(
            patterns, matchkind=library.MatchKind.LeftmostFirst
        ).find_matches_as_indexes
    except (ImportError, AttributeError):
        return None
    return found


@cache
def _marks() -> Find | None:
    return _finder(_LONG_MARKS)


@cache
def _short() -> Find:
    return _finder(_SHORT) or (lambda _: [(len(_SHORT), 0, 0)])


class _Json(threading.local):
    """A parser holds the document it parsed last, so each thread has its own."""

    def __init__(self, parser: Callable[[], Any]) -> None:
        self.parse: Callable[[bytes], object] = parser().parse


@cache
def _json() -> _Json | None:
    try:
        return _Json(importlib.import_module("simdjson").Parser)
    except (ImportError, AttributeError):
        return None


def _objects(data: bytes) -> int | None:
    """How many lines there are; None where one is no JSON, or nothing inside."""
    library = _json()
    if library is None:
        return None
    try:
        return sum(map(truth, map(library.parse, BytesIO(data))))  # neither a line nor a document outlives its turn
    except (ValueError, RuntimeError):  # the latter for whole numbers of more than 64 bits
        return None
