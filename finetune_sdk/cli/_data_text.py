"""How datasets, their findings and what was done to them look in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
import msgspec

from finetune_sdk.cli._out import columns, wrapped
from finetune_sdk.data.convert import Outcome
from finetune_sdk.data.example import KIND_NAMES, Example, Message, conversation, kind_of
from finetune_sdk.data.survey import TOKEN_ERROR, Survey
from finetune_sdk.types import Finding

_COLOURS = {"error": "red", "warning": "yellow", "info": "cyan"}
_PLACES_SHOWN = 3
_BAR = 30


def survey_text(found: Survey) -> str:
    """Counts and findings."""
    return f"{stats_text(found)}\n\n{findings_text(found)}"


def stats_text(found: Survey) -> str:
    """What is in the data."""
    rows: list[tuple[str, str]] = [("file", str(detection)) for detection in found.detection]
    kinds = ", ".join(f"{count:,} {KIND_NAMES[_kind(kind)]}" for kind, count in found.kinds.items())
    rows.append(("rows", f"{found.rows:,}" + (f" ({kinds})" if kinds else "")))
    rows += [
        (name, _counts(counts))
        for name, counts in (("roles", found.roles), ("turns per row", found.turns), ("labels", found.labels))
        if counts
    ]
    if found.rows:
        chars = "  ".join(f"{name} {value:,}" for name, value in found.chars.items())
        rows.append(("characters", chars))
        rows.append(
            ("tokens", f"about {found.tokens_estimate:,} (characters / 4, within about {TOKEN_ERROR:.0%} for English)")
        )
        rows.append(("duplicates", f"{found.duplicates:,}"))
    return columns(rows)


def _kind(name: str) -> Any:
    return name


def _counts(counts: Mapping[Any, int]) -> str:
    shown = [f"{name} {count:,}" for name, count in list(counts.items())[:12]]
    return ", ".join(shown) + (f", ... ({len(counts)} in all)" if len(counts) > len(shown) else "")


def findings_text(found: Survey) -> str:
    """Findings by rule, each with its first places."""
    if not found.findings:
        return click.style("no findings", fg="green")
    return "\n".join(line for finding in found.findings for line in _finding(finding, found.places[finding.rule]))


def _finding(finding: Finding, places: Sequence[Finding]) -> Iterator[str]:
    word = click.style(finding.severity, fg=_COLOURS[finding.severity])
    times = f" ({finding.count:,} times)" if finding.count > 1 else ""
    yield wrapped(f"{word} {finding.rule}: {finding.message}{times}. {finding.fix}", indent="    ", first="")
    lines = [_place(place) for place in places[:_PLACES_SHOWN] if place.file is not None]
    if lines:
        yield f"    at {', '.join(lines)}" + (", ..." if finding.count > len(lines) else "")


def _place(finding: Finding) -> str:
    line = f":{finding.line}" if finding.line is not None else ""
    return f"{finding.file}{line}" + (f" {finding.path}" if finding.path else "")


def outcome_text(outcome: Outcome) -> str:
    """What was written, what was left out, what was found."""
    lines = [f"{file}: {rows:,} rows" for file, rows in outcome.written.items()]
    if not outcome.written:
        lines.append(click.style("nothing was written", fg="red"))
    lines += [f"left out: {rows:,} ({reason})" for reason, rows in outcome.dropped.items()]
    for finding in outcome.findings:
        word = click.style(finding.severity, fg=_COLOURS[finding.severity])
        lines.append(wrapped(f"{word} {finding.rule}: {finding}", indent="    ", first=""))
    return "\n".join(lines)


def example_text(example: Example) -> str:
    """One example, its turns in order."""
    where = f"{example.source.file}:{example.source.line}" if example.source else ""
    head = click.style(f"{where} [{kind_of(example)}]", bold=True)
    turns = [_turn(message) for message in conversation(example)]
    if turns:
        return "\n".join([head, *turns])
    body = msgspec.to_builtins(example)
    return "\n".join(
        [head, *(wrapped(f"{key}: {value}") for key, value in body.items() if key not in ("kind", "source"))]
    )


def _turn(message: Message) -> str:
    weight = "" if message.weight is None else f" (weight {message.weight:g})"
    calls = "".join(f"\n    calls {call.function.name}({call.function.arguments})" for call in message.tool_calls or [])
    said = (
        message.text if len(message.text) <= 2000 else f"{message.text[:2000]} ... ({len(message.text):,} characters)"
    )
    return f"  {click.style(message.role, fg='cyan')}{weight}: {said}{calls}"
