"""Narrowing JSON values of unknown shape without losing types: the only place that casts them."""

from __future__ import annotations

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


def key_count(value: object) -> int:
    """How many keys all objects inside hold together. Raises `RecursionError` below `MAX_DEPTH` levels."""
    count = depth = 0
    level: list[Any] = [value]
    while level:
        if depth > MAX_DEPTH and any(type(one) in _NESTING for one in level):
            raise RecursionError
        below: list[Any] = []
        for one in level:
            if type(one) is dict:
                count += len(one)  # pyright: ignore[reportUnknownArgumentType]
                below += one.values()  # pyright: ignore[reportUnknownMemberType]
            elif type(one) is list:
                below += one
        level = [one for one in below if type(one) in _NESTING]
        depth += 1
    return count


_NESTING = frozenset((dict, list))
MAX_DEPTH = 64
"""Levels of nesting; deeper rows are refused: trainers' parsers give up at different depths."""
