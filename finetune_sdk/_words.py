"""The nearest valid word to one that was mistyped."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word a typing error most likely meant; None if none is close."""
    folded = {name.lower().replace("-", "_"): name for name in sorted(known)}
    found = difflib.get_close_matches(word.lower().replace("-", "_"), folded, 1, 0.6)
    return folded[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`"; did you mean 'x'?"`, or nothing."""
    meant = nearest(word, known)
    return f"; did you mean {meant!r}?" if meant is not None else ""
