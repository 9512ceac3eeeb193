"""Examples to rows of one format, with all there is to say about them: what is wrong, and what gets lost."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from finetune_sdk.data.callids import with_call_ids
from finetune_sdk.data.checks import check
from finetune_sdk.data.example import ChatExample, Example, Turns
from finetune_sdk.data.formats import Format
from finetune_sdk.data.jsonvalue import Object
from finetune_sdk.data.losses import as_kind, losses, wrong_kind
from finetune_sdk.data.report import Fault, Report
from finetune_sdk.types import Finding

Judge: TypeAlias = Callable[[Example], Iterable[Finding]]
Own: TypeAlias = Callable[[], Object | None]
"""The row that an example was read from, where it is of the format already."""

_MANY = 1000


class Renderer:
    """Writes rows of the format `entry`, and tells `report`. `as_json`: rows are encoded as JSON, whole."""

    def __init__(self, entry: Format, allow: Collection[str], report: Report, *, as_json: bool = False) -> None:
        assert entry.render is not None, "asked for before"  # noqa: S101
        self._entry = entry
        self._allow = allow
        self._report = report
        self._render = entry.as_json if as_json and entry.as_json else entry.render
        self._losses: dict[tuple[str, ...], Sequence[Finding]] = {}
        """What conversations lose, by their layout where nothing else matters."""

    def judge(self, example: Example, judge: Judge | None = None, *, clean: bool = False) -> None:
        """Tell what `judge` has to say about an example.

        Without a judge, what is wrong with the content itself: no reason not to write it as faithfully as the rest.
        """
        if judge is not None:
            for finding in judge(example):
                self._tell(finding, example)
            return
        for finding in check(example, clean=clean):
            self._tell(replace(finding, severity="warning") if finding.severity == "error" else finding, example)

    def _tell(self, finding: Finding, example: Example) -> None:
        where = example.source
        self._report.add(replace(finding, file=where.file, line=where.line) if where else finding)

    def rows(self, example: Example, own: Own | None = None, *, as_is: bool = False) -> Sequence[Any]:
        """The example's rows. Its `own` row, of the same format, is kept where writing anew would lose, or `as_is`."""
        same = own() if own is not None and as_is else None
        if same is not None:
            return (same,)
        entry = self._entry
        if isinstance(example, ChatExample) and entry.kind == "chat":
            turns = example.messages
            if isinstance(turns, Turns) and not example.extra and not _has_switches(example):
                row = with_call_ids(example) if entry.needs_call_ids and type(turns) is Turns else example
                return self._rendered(row, self._losses_of(row, turns.layout), own)
        rows = [with_call_ids(row) if entry.needs_call_ids else row for row in as_kind(example, entry)]
        if not rows:
            self._tell(wrong_kind(example, entry), example)
        return [written for row in rows for written in self._rendered(row, [*losses(row, entry, self._allow)], own)]

    def _rendered(self, example: Example, found: Sequence[Finding], own: Own | None) -> Sequence[Any]:
        if not found:
            return self._written(example)
        row = own() if own is not None and not any(finding.severity == "info" for finding in found) else None
        if row is not None:
            return (row,)
        for finding in found:
            self._tell(finding, example)
        refused = any(finding.rule.startswith("cannot-") for finding in found)
        return () if refused else self._written(example)

    def _written(self, example: Example) -> Sequence[Any]:
        try:
            return (self._render(example),)
        except Fault as fault:
            self._tell(fault.finding(None, None), example)
            return ()

    def _losses_of(self, example: Example, layout: tuple[str, ...]) -> Sequence[Finding]:
        found = self._losses.get(layout)
        if found is None:
            found = tuple(losses(example, self._entry, self._allow))
            if len(self._losses) < _MANY and len(layout) < _MANY:
                self._losses[layout] = found
        return found


def _has_switches(example: ChatExample) -> bool:
    """Whether anything is said about tools or templates."""
    return (
        example.tools is not None or example.parallel_tool_calls is not None or example.chat_template_kwargs is not None
    )
