"""Narrowing JSON values of unknown shape without losing types: the only place that casts them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, repeat
from typing import Any, TypeAlias, cast

Object: TypeAlias = dict[str, Any]


def as_object(value: object) -> Object | None:
    """The value if it is a JSON object, else None."""
    return cast(Object, value) if isinstance(value, dict) else None


def as_list(value: Any) -> list[Any] | None:
    """The value if it is a JSON array, else None."""
    return value if isinstance(value, list) else None  # pyright: ignore[reportUnknownVariableType]


def type_name(value: object) -> str:
    """What a person calls the value's JSON type."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true/false"
    if isinstance(value, str):
        return "text"
    if isinstance(value, int | float):
        return f"the number {value}"[:40]
    kind = type(value).__name__
    return _KINDS.get(kind, kind)


_KINDS = {
    "list": "a list",
    "dict": "an object",
    "datetime": "a timestamp (its original text is lost)",
    "date": "a date (its original text is lost)",
    "Decimal": "a decimal number",
    "bytes": "bytes",
}
"""What JSON and the columns of tables hold, by Python's name."""


def colons(values: Sequence[Any], *, depth: int = 0) -> int:
    """How many colons the JSON of these values holds: one for each key, and those in texts; those in keys are left out.

    JSON that has more may hold a key twice. Raises `RecursionError` below `MAX_DEPTH` levels; the values lie `depth`
    levels below the row.
    """
    count = 0
    below: list[Any] = [*values]
    while True:
        kinds = set(map(_type, below))
        if str in kinds:
            texts = below if len(kinds) == 1 else [one for one in below if type(one) is str]
            count += sum(map(str.count, texts, repeat(":")))
        if kinds.isdisjoint(_NESTING):
            return count
        if depth > MAX_DEPTH:
            raise RecursionError
        objects: list[Any] = below if kinds == _OBJECTS else [one for one in below if type(one) is dict]
        lists: list[Any] = [one for one in below if type(one) is list] if list in kinds else []
        count += sum(map(len, objects))
        below = [*chain.from_iterable(map(dict[str, Any].values, objects)), *chain.from_iterable(lists)]
        depth += 1


_type: Callable[[Any], type[Any]] = type
_NESTING = frozenset((dict, list))
_OBJECTS = {dict}
MAX_DEPTH = 64
"""Levels of nesting; deeper rows are refused: trainers' parsers give up at different depths."""
INSIDE = 10
"""More levels than lie between a row and any value that a fast way decodes by itself: near the limit it gives up."""
