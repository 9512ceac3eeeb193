"""What is wrong with rows, found while they are encoded: counted per rule and told before the first step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .context import Context

_SHOWN = 5


@dataclass
class _Kind:
    severity: str
    fix: str
    first: str
    count: int = 0
    places: list[str] = field(default_factory=list[str])


class Findings:
    """Collects; `report` writes one event per rule and fails the job when a rule is an error."""

    def __init__(self) -> None:
        self._kinds: dict[str, _Kind] = {}

    def add(self, rule: str, severity: str, message: str, *, fix: str, source: Mapping[str, Any] | None) -> None:
        """One row's fault. `message` of the first row of a rule is the one shown."""
        kind = self._kinds.setdefault(rule, _Kind(severity=severity, fix=fix, first=message))
        kind.count += 1
        if len(kind.places) < _SHOWN:
            kind.places.append(place(source))

    def count(self, rule: str) -> int:
        """How many rows broke the rule."""
        kind = self._kinds.get(rule)
        return kind.count if kind else 0

    def report(self, ctx: Context) -> None:
        """One event per rule; raises `ctx.Failed` with the first error."""
        for rule, kind in self._kinds.items():
            ctx.event(f"{rule}: {self._text(kind)}", level=kind.severity, rows=float(kind.count))
        for rule, kind in self._kinds.items():
            if kind.severity == "error":
                raise ctx.Failed(f"{rule}: {self._text(kind)}")

    @staticmethod
    def _text(kind: _Kind) -> str:
        more = ", ..." if kind.count > len(kind.places) else ""
        rows = "1 row" if kind.count == 1 else f"{kind.count} rows"
        return f"{kind.places[0]}: {kind.first} ({rows}: {', '.join(kind.places)}{more}). {kind.fix}"


def place(source: Mapping[str, Any] | None) -> str:
    """`file:line` of a canonical row, `?` when it has none."""
    if not source:
        return "?"
    return f"{source.get('file', '?')}:{source.get('line', '?')}"
