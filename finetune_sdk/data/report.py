"""Collecting findings while rows stream by: bounded memory, first places kept, counts exact."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from finetune_sdk.types import Finding, Severity

Note: TypeAlias = Callable[[str, str, str, str], None]
"""`note(rule, path, message, fix)`: something about the current row that was repaired or should be known."""

Rows: TypeAlias = Iterator[tuple[int, dict[str, Any]]]
"""Rows as they are in a file, with their lines."""

PLACES = 5
"""How many places are kept per rule and file."""


class Fault(Exception):
    """This row cannot be used. Internal: it always becomes a finding or a `DataError`."""

    def __init__(
        self, rule: str, path: str | None, message: str, fix: str, *, fatal: bool = False, severity: Severity = "error"
    ) -> None:
        super().__init__(rule, path, message, fix)
        self.severity: Severity = severity
        """Less than an error: the row can be used all the same, but something about it should be known."""
        self.rule = rule
        self.path = path
        self.message = message
        self.fix = fix
        self.fatal = fatal
        """The rest of the file cannot be read either."""

    def finding(self, file: str | None, line: int | None) -> Finding:
        return Finding(
            rule=self.rule,
            severity=self.severity,
            message=self.message,
            fix=self.fix,
            file=file,
            line=line,
            path=self.path,
        )


Fail: TypeAlias = Callable[[int | None, Fault], None]
"""What a reader calls for a row it cannot read."""


@dataclass(slots=True)
class _Group:
    count: int = 0
    places: list[Finding] = field(default_factory=list[Finding])


@dataclass(slots=True)
class Report:
    """Findings, grouped by rule, severity and file."""

    _groups: dict[tuple[str, Severity, str | None], _Group] = field(
        default_factory=dict[tuple[str, Severity, str | None], _Group]
    )

    def add(self, finding: Finding) -> None:
        """Count a finding; the first places of each rule are kept, the rest only counted."""
        group = self._groups.setdefault((finding.rule, finding.severity, finding.file), _Group())
        group.count += finding.count
        if len(group.places) < PLACES:
            group.places.append(finding)

    def findings(self) -> tuple[Finding, ...]:
        """One finding per rule and file, the worst first; its place is the first one seen."""
        merged = [replace(group.places[0], count=group.count) for group in self._groups.values()]
        order: dict[Severity, int] = {"error": 0, "warning": 1, "info": 2}
        return tuple(sorted(merged, key=lambda finding: order[finding.severity]))

    def groups(self) -> list[tuple[int, list[Finding]]]:
        """Everything in plain values, for `merge` in another process."""
        return [(group.count, group.places) for group in self._groups.values()]

    def merge(self, groups: list[tuple[int, list[Finding]]], lines_before: int) -> None:
        """Take over another report, about what follows `lines_before` lines of the same file."""
        for count, places in groups:
            first = places[0]
            group = self._groups.setdefault((first.rule, first.severity, first.file), _Group())
            group.count += count
            for place in places[: PLACES - len(group.places)]:
                line = None if place.line is None else place.line + lines_before
                group.places.append(replace(place, line=line))

    def places(self, finding: Finding) -> tuple[Finding, ...]:
        """The first places of the rule a merged finding stands for."""
        group = self._groups.get((finding.rule, finding.severity, finding.file))
        return tuple(group.places) if group else ()

    def holds(self, rule: str) -> bool:
        """Whether the rule was met."""
        return any(known == rule for known, _, _ in self._groups)

    @property
    def errors(self) -> int:
        """How many places forbid using the data."""
        return sum(group.count for (_, severity, _), group in self._groups.items() if severity == "error")
