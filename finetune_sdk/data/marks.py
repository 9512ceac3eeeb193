"""What texts and raw JSON lines may hold that deserves a finding, or would be written another way: many at a time.

With hyperscan a chunk is looked through once, at several GB per second. Without it Python's `re` gives the same
answers, slower.
"""

from __future__ import annotations

import importlib
import re
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

Search: TypeAlias = Callable[[bytes], Sequence[int]]
"""Where matches end: none, or at least one."""

MARKS: Sequence[bytes] = (
    *(rb"INST\]", rb"<(?:\||/?s>|</?SYS|bos>|eos>|start_of_turn>|end_of_turn>|\xef\xbd\x9c)"),
    *(rb"\xc3(?:\x83\xc2|\xa2\xe2\x82\xac|\x82\xc2)", rb"\xe2(?:\x80[\x8b\xaa-\xae]|\x81[\xa0\xa6-\xa9])"),
    *(rb"\xef\xbb\xbf", rb"\x7f"),
)
"""Whatever `checks.TEXT_MARKS` finds contains one of these. Each begins with one certain byte."""

CONTROL = rb"[\x00-\x08\x0b\x0c\x0e-\x1f]"
"""Never in raw JSON, but in texts."""
_ONE, _SEVERAL = rb"(?:^|[^\\])\\[u/bf]", rb"\\\\\\[u/bf]"
"""Escapes that we would write another way: after one backslash, and after a run of them, if it is odd."""
_ESCAPE = re.compile(rb"\\[\\u/bf]")
"""The same, and escaped backslashes, which have to be stepped over."""


def is_marked(chunk: bytes) -> bool:
    """Whether some text as it stands may deserve a finding. What escapes stand for is not looked at.

    Sometimes wrong, never missing anything.
    """
    return bool(_own.marks(chunk))


def may_be_marked(text: str) -> bool:
    """The same of a text as a reader sees it."""
    return bool(_own.texts(text.encode("utf-8", "surrogatepass")))


def has_escapes(chunk: bytes) -> bool:
    """Whether some escape would be written another way; only such ones can build a mark."""
    return any(_is_escape(chunk, end) for end in _own.escapes(chunk))


def _is_escape(chunk: bytes, end: int) -> bool:
    start = end - 1
    while start and chunk[start - 1] == 0x5C:
        start -= 1
    return (end - 1 - start) % 2 == 1


def by_re(patterns: Sequence[bytes]) -> Search:
    """Python's own search: one pass for each pattern whose first byte is there at all."""
    compiled = [(_lead(pattern), re.compile(pattern)) for pattern in patterns]

    def found(chunk: bytes) -> Sequence[int]:
        return [1] if any(lead in chunk and pattern.search(chunk) for lead, pattern in compiled) else []

    return found


def _lead(pattern: bytes) -> bytes:
    return bytes([int(pattern[2:4], 16)]) if pattern.startswith(rb"\x") else pattern[:1]


def texts_by_re(text: bytes) -> Sequence[int]:
    """What `may_be_marked` does without hyperscan."""
    return [1] if _SIGN.search(text) else _MARKS_BY_RE(text)


def escapes_by_re(chunk: bytes) -> Sequence[int]:
    """What `has_escapes` does without hyperscan."""
    return [match.end() for match in _ESCAPE.finditer(chunk) if match.group() != rb"\\"][:1]


_SIGN = re.compile(CONTROL)
_MARKS_BY_RE = by_re(MARKS)


def by_hyperscan(once: Sequence[bytes], *every: bytes) -> Search | None:
    """One pass for all patterns, `every` match or `once` per pattern.

    None where the library is missing, or the processor too old for it.
    """
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

    def found(chunk: bytes) -> Sequence[int]:
        ends: list[int] = []

        def note(_pattern: int, _start: int, end: int, *_: object) -> None:
            ends.append(end)

        scan(chunk, match_event_handler=note)
        return ends

    return found


class _Own(threading.local):
    """Searches per thread: a database holds the scratch space of its scan."""

    def __init__(self) -> None:
        self.marks: Search = self._first_marks
        self.texts: Search = self._first_texts
        self.escapes: Search = self._first_escapes

    def _first_marks(self, chunk: bytes) -> Sequence[int]:
        self.marks = by_hyperscan(MARKS) or _MARKS_BY_RE
        return self.marks(chunk)

    def _first_texts(self, chunk: bytes) -> Sequence[int]:
        self.texts = by_hyperscan((*MARKS, CONTROL)) or texts_by_re
        return self.texts(chunk)

    def _first_escapes(self, chunk: bytes) -> Sequence[int]:
        self.escapes = by_hyperscan((_ONE,), _SEVERAL) or escapes_by_re
        return self.escapes(chunk)


_own = _Own()
