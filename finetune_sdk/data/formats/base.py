"""What a format is: one row of the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from finetune_sdk.data.example import Example, Kind, Part
from finetune_sdk.data.jsonvalue import Object, type_name
from finetune_sdk.data.report import Fault, Note

Match: TypeAlias = Callable[[Object], str | None]
Parse: TypeAlias = Callable[[Object, Note], Example]
Render: TypeAlias = Callable[[Example], Object]
"""The row. Leaves out what the format `loses`; is never asked for what it `cannot` say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A way of writing examples as rows."""

    name: str
    kind: Kind
    summary: str
    match: Match
    """The evidence that a row is of this format, None if it is not. Looks at keys and types only."""
    parse: Parse
    """The row's example. Raises `Fault`; notes what it repaired."""
    render: Render | None = None
    """None = this format is read only."""
    as_json: Render | None = None
    """Like `render`, where the row is only encoded as JSON: messages may stand in it that encode as their objects."""
    loses: Mapping[str, str] = field(default_factory=dict[str, str])
    """Features (`features.FEATURES`) that do not survive writing, each with what becomes of it."""
    takes: Callable[[Part], bool] | None = None
    """Which parts it can express among the `other-parts` that it otherwise `cannot`."""
    taken: str = ""
    """How a row writes these, for a person who wrote them otherwise."""
    cannot: frozenset[str] = frozenset()
    """Features without which nothing sensible is left to write: refused, whatever is allowed."""
    rank: int = 0
    """Where several formats match, the highest rank wins: the most specific one."""
    reserved: frozenset[str] = frozenset()
    """Top-level keys with a meaning here; a row's own extra key of that name cannot be written."""
    clashes: Callable[[Example], str | None] | None = None
    """Further keys of the row's own that would mean something else here: the first one, None where there is none."""
    breaks: Callable[[Example], str | None] | None = None
    """The path of a text in which the format's own marks stand: it would be read otherwise. None without one."""
    needs_call_ids: bool = False
    """Tool results name their call by id: calls that have none are given one before writing."""
    extends: str = ""
    """A wider format of which this is a dialect: chosen when all rows are of that one and some show the dialect."""
    aliases: tuple[str, ...] = ()
    source: str = ""
    """Where the format is described."""
    read_on: str = ""
    matters: frozenset[str] = field(init=False, default=frozenset())
    """All features that the format `loses` or `cannot` say."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "matters", self.cannot.union(self.loses))


def need_text(row: Object, key: str) -> str:
    """The text under `key`. Raises `Fault` when it is missing or not text."""
    if key not in row or row[key] is None:
        raise Fault("field-missing", key, f"{key!r} is missing", f"Add {key!r}, or map a column to it.")
    value = row[key]
    if not isinstance(value, str):
        raise Fault("field-type", key, f"{key!r} must be text, this is {type_name(value)}", "Write it as text.")
    return value


def rest(row: Object, *known: str) -> Object:
    """The keys of a row that have no place of their own."""
    return {key: value for key, value in row.items() if key not in known}
