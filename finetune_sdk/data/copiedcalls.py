"""Tool calls of one row and their results, as JSON: only where nothing is to be said about them. See `copied`."""

from __future__ import annotations

from collections.abc import Collection, Sequence


class Odd(Exception):
    """This row goes another way. Internal."""


_EMPTY = b'""'


class Calls:
    """Which result answers which call. Either all of a row have ids, or none, and results follow in order."""

    __slots__ = ("_functions", "_given", "_last", "_number", "_open")

    def __init__(self) -> None:
        self._functions: set[bytes] = set()
        self._open: list[bytes] = []
        """Ids of calls that have no result yet."""
        self._given: bool | None = None
        """Whether there are ids; None before it is known."""
        self._number = 0
        self._last = 0
        """The turn after the last call or result."""

    def move_to(self, turn: int) -> None:
        """Say which turn comes now. Raises `Odd` where another one came before all calls had their results."""
        if self._given and self._open and self._last != turn:
            raise Odd
        self._last = turn + 1

    def ask(self, functions: Collection[bytes], ids: Sequence[bytes] = ()) -> Sequence[bytes]:
        """The ids of the calls of one turn, which are given, or made."""
        self._functions.update(functions)
        self._are(given=bool(ids))
        if ids:
            if self._open or len(set(ids)) < len(ids) or _EMPTY in ids:
                raise Odd
        else:
            ids = [b'"call_%d"' % (self._number + at) for at in range(1, len(functions) + 1)]
            self._number += len(functions)
        self._open += ids
        return ids

    def answer(self, name: bytes) -> bytes:
        """The id of the call that is answered: `name`, where there is one, else the first one that is open.

        Empty where nothing is open.
        """
        self._are(given=bool(name))
        if not name:
            return self._open.pop(0) if self._open else b""
        if name not in self._open:
            raise Odd
        self._open.remove(name)
        return name

    def end(self, turns: int, known: Collection[bytes]) -> None:
        """Raises `Odd` where not all calls had results before the next turn, or a function is not known."""
        self.move_to(turns)
        if known and not self._functions.issubset(known):
            raise Odd

    def _are(self, *, given: bool) -> None:
        if self._given is None:
            self._given = given
        elif self._given != given:
            raise Odd
