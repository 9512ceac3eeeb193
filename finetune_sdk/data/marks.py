"""What texts and raw JSON lines may hold that deserves a finding, or would be written another way: many at a time.

With hyperscan a chunk is looked through at several GB per second. Without it Python's `re` gives the same answers,
slower.
"""

from __future__ import annotations

import importlib
import re
import threading
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeAlias

Search: TypeAlias = Callable[[bytes], Sequence[tuple[int, int]]]
"""Which patterns match, and where they end: not all, but at least one."""

MARKS: Sequence[bytes] = (
    *(b"INST]", b"<|", b"<s>", b"</s>", b"<<SYS", b"<</SYS", b"<bos>", b"<eos>", b"<start_of_turn>", b"<end_of_turn>"),
    *(b"<\xef\xbd\x9c", b"\xc3\x83\xc2", b"\xc3\xa2\xe2\x82\xac", b"\xc3\x82\xc2", b"\xef\xbb\xbf"),
    *(b"\xe2\x80\x8b", b"\xe2\x80\xaa", b"\xe2\x80\xab", b"\xe2\x80\xac", b"\xe2\x80\xad", b"\xe2\x80\xae"),
    *(b"\xe2\x81\xa0", b"\xe2\x81\xa6", b"\xe2\x81\xa7", b"\xe2\x81\xa8", b"\xe2\x81\xa9"),
)
"""Whatever `checks.TEXT_MARKS` finds contains one of these, or `DELETE`, or is a `CONTROL`."""

DELETE = b"\x7f"
"""By itself: among the others a pattern of one byte would double the time of the search."""
CONTROL = rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"
"""All but the last never stand in raw JSON, but in texts."""
ESCAPES: tuple[bytes, bytes] = (rb"(?:^|[^\\])\\[u/bf]", rb"\\\\\\[u/bf]")
"""Escapes that we would write another way: after one backslash, and after a run of them, if it is odd."""
_ESCAPE = re.compile(rb"\\[\\u/bf]")
"""The same, and escaped backslashes, which have to be stepped over."""
BLANK = rb"(?:[ ]|\\[nrt]|\xc2[\x85\xa0]|\xe1\x9a\x80|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]|\xe2\x81\x9f|\xe3\x80\x80)"
"""What `str.isspace` calls a space, as it may stand in raw JSON text."""
_GAP = rb"[ \t\n\r]*"


class Seen(NamedTuple):
    """What a chunk holds. Sometimes wrong when it says yes, never when it says no."""

    marked: bool
    """A text may deserve a finding, or is blank, or is no text. What escapes stand for is not looked at."""
    escaped: bool
    """Some escape would be written another way; only such ones can build a mark."""
    tight: bool
    """Somewhere no space stands after a comma or a colon between keys, texts and turns."""


class Look:
    """One look at a chunk of rows whose texts stand under these keys, and all whose keys are known."""

    def __init__(
        self,
        texts: Sequence[str],
        keys: Sequence[str] = (),
        lists: Sequence[str] = (),
        *,
        may_be_empty: Sequence[str] = (),
    ) -> None:
        self._odd = b"|".join([_odd(name, rb"*") for name in texts] + [_odd(name, rb"+") for name in may_be_empty])
        self._tight = (
            *(b'":"', b'},{"'),
            *[f'"{name}":['.encode() for name in lists],
            *[f',"{key}"'.encode() for key in (*keys, *texts, *lists)],
        )
        self._own = threading.local()  # a database holds the scratch space of its scan

    def __call__(self, chunk: bytes) -> Seen:
        """Look at whole lines."""
        search: Callable[[bytes], Seen] | None = getattr(self._own, "search", None)
        if search is None:
            search = self._own.search = self.by_hyperscan() or self.by_re
        return search(chunk)

    def by_hyperscan(self) -> Callable[[bytes], Seen] | None:
        """Two passes: literals in one, the rest in the other, is twice as fast as all in one."""
        literals = hyperscan([_exactly(mark) for mark in (*MARKS, *self._tight)])
        others = hyperscan([self._odd, ESCAPES[0]], ESCAPES[1])
        if literals is None or others is None:
            return None
        marks = len(MARKS)

        def search(chunk: bytes) -> Seen:
            found, more = literals(chunk), others(chunk)
            return Seen(
                marked=DELETE in chunk
                or any(pattern < marks for pattern, _ in found)
                or any(not pattern for pattern, _ in more),
                escaped=any(pattern and _is_escape(chunk, end) for pattern, end in more),
                tight=any(pattern >= marks for pattern, _ in found),
            )

        return search

    def by_re(self, chunk: bytes) -> Seen:
        """The same without hyperscan."""
        return Seen(
            marked=_marked(chunk) or re.search(self._odd, chunk) is not None,
            escaped=_escaped(chunk),
            tight=any(literal in chunk for literal in self._tight),
        )


class _Chunks(threading.local):
    """Searches of this thread in raw JSON lines of any kind."""

    def __init__(self) -> None:
        self._marks = hyperscan([_exactly(mark) for mark in MARKS])
        self._escapes = hyperscan([ESCAPES[0]], ESCAPES[1])

    def clean(self, chunk: bytes) -> bool:
        if self._marks is None or self._escapes is None:
            return not _marked(chunk) and not _escaped(chunk)
        if DELETE in chunk or self._marks(chunk):
            return False
        return not any(_is_escape(chunk, end) for _, end in self._escapes(chunk))


@cache
def _chunks() -> _Chunks:
    return _Chunks()


def is_clean(chunk: bytes) -> bool:
    """Whether no text in raw JSON lines deserves a finding, unless it is blank: `check` need not look at them.

    Nor does any escape stand for something that could be written otherwise.
    """
    return _chunks().clean(chunk)


def may_be_marked(text: str) -> bool:
    """Whether some text, as a reader sees it, may deserve a finding, except that it is blank."""
    return bool(_texts.search(text.encode("utf-8", "surrogatepass")))


class _Texts(threading.local):
    def __init__(self) -> None:
        self.search: Callable[[bytes], object] = self._first

    def _first(self, text: bytes) -> object:
        self.search = texts_by_hyperscan() or texts_by_re
        return self.search(text)


_texts = _Texts()


def texts_by_hyperscan() -> Search | None:
    """What `may_be_marked` does where hyperscan is installed."""
    return hyperscan([*map(_exactly, MARKS), CONTROL])


def texts_by_re(text: bytes) -> bool:
    """What `may_be_marked` does without it."""
    return _SIGN.search(text) is not None or _marked(text)


def _escaped(chunk: bytes) -> bool:
    return any(match.group() != rb"\\" for match in _ESCAPE.finditer(chunk))


def _marked(chunk: bytes) -> bool:
    return DELETE in chunk or (any(lead in chunk for lead in _LEADS) and _BY_RE.search(chunk) is not None)


_SIGN = re.compile(CONTROL)
_BY_RE = re.compile(b"|".join(map(re.escape, MARKS)))
_LEADS = (b"INST]", b"<", b"\xc3\x83", b"\xc3\xa2", b"\xc3\x82", b"\xef\xbb", b"\xe2\x80", b"\xe2\x81")
"""Every mark begins with one of these."""


def _odd(key: str, count: bytes) -> bytes:
    """A value that is no text, or that many spaces."""
    return b'"' + key.encode() + b'"' + _GAP + b":" + _GAP + rb'(?:[^" \t\n\r]|"' + BLANK + count + b'")'


def _exactly(literal: bytes) -> bytes:
    return b"".join(rb"\x%02x" % byte for byte in literal)


def _is_escape(chunk: bytes, end: int) -> bool:
    start = end - 1
    while start and chunk[start - 1] == 0x5C:
        start -= 1
    return (end - 1 - start) % 2 == 1


def hyperscan(once: Sequence[bytes], *every: bytes) -> Search | None:
    """One pass for all patterns, `every` match or `once` per pattern. None where the library cannot be used."""
    try:
        library: Any = importlib.import_module("hyperscan")
    except ImportError:
        return None
    patterns = [*once, *every]
    try:
        database = library.Database()
        database.compile(
            expressions=patterns,
            ids=list(range(len(patterns))),
            flags=[library.HS_FLAG_SINGLEMATCH] * len(once) + [0] * len(every),
        )
    except library.error:
        return None
    scan = database.scan

    def found(chunk: bytes) -> Sequence[tuple[int, int]]:
        matches: list[tuple[int, int]] = []

        def note(pattern: int, _start: int, end: int, *_: object) -> None:
            matches.append((pattern, end))

        scan(chunk, match_event_handler=note)
        return matches

    return found
