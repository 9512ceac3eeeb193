"""How datasets, their findings and what was done to them look in a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import click

from finetune_sdk.cli._out import columns, terminal_width, visible, wrapped
from finetune_sdk.data.convert import Outcome
from finetune_sdk.data.detect import Detection
from finetune_sdk.data.example import KIND_NAMES, Kind
from finetune_sdk.data.targets import Profile
from finetune_sdk.data.tools.check import CheckReport, Group, Verdict
from finetune_sdk.data.tools.dedupe import Leak
from finetune_sdk.types import Finding

_COLOURS = {"error": "red", "warning": "yellow", "info": "cyan"}
_PLACES_SHOWN = 3
_FILES_SHOWN = 5
_LABELS_SHOWN = 20
_BAR = 36


def check_text(found: CheckReport, *, all_targets: bool) -> str:
    """Counts, findings, and who takes the data."""
    blocks = [stats_text(found), groups_text(found.findings)]
    if found.targets and found.rows:
        blocks.append(matrix_text(found.targets, all_targets=all_targets))
    return "\n\n".join(blocks)


def stats_text(found: CheckReport) -> str:
    """What is in the data."""
    rows: list[tuple[str, str]] = [("file", text) for text in _files(found.files)]
    kinds = ", ".join(f"{count:,} {KIND_NAMES[kind]}" for kind, count in _kinds(found.kinds))
    rows.append(("rows", kinds or "none"))
    rows += [(name, _counts(counts)) for name, counts in (("roles", found.roles), ("labels", found.labels)) if counts]
    if found.rows:
        rows += [("turns", _quantiles(found.turns))] if found.turns["count"] else []
        rows.append(("characters", _quantiles(found.characters)))
        about = "" if found.tokens_exact else "about "
        rows.append(("tokens", _quantiles(found.tokens)))
        rows.append(("", f"{about}{found.tokens['mean'] * found.rows:,.0f} in all, {found.tokens_by}"))
    uses = {name: count for name, count in found.features.items() if name not in _SAYS_NOTHING}
    if uses:
        rows.append(("uses", _counts(uses)))
    blocks = [_facts(rows)]
    if found.rows > 1:
        blocks.append(_bars("characters per row", _ranges(found.character_bars)))
    if len(found.labels) > 1:
        named = [(_name(name), rows) for name, rows in found.labels.items()]
        more = f"\n  ... and {len(named) - _LABELS_SHOWN:,} more" if len(named) > _LABELS_SHOWN else ""
        blocks.append(_bars("rows per label", named[:_LABELS_SHOWN]) + more)
    return "\n\n".join(blocks)


def _files(found: Sequence[Detection]) -> Iterator[str]:
    """How each file is read; where one is read like many before it, their number says so."""
    alike: dict[tuple[str, str, str], list[Detection]] = {}
    for one in found:
        alike.setdefault((one.format, one.container, one.evidence), []).append(one)
    for group in alike.values():
        shown = group if len(group) <= _FILES_SHOWN + 1 else group[:_FILES_SHOWN]
        yield from map(str, shown)
        if len(group) > len(shown):
            yield f"... and {len(group) - len(shown):,} more like them, up to {group[-1].file}"


def _facts(rows: Sequence[tuple[str, str]]) -> str:
    """A name and what belongs to it a line; what is too long goes on below itself."""
    width = max(len(name) for name, _ in rows) + 2
    return "\n".join(_fact(f"{name:<{width}}", text) for name, text in rows)


def _fact(name: str, text: str) -> str:
    fits = len(name) + len(click.unstyle(text)) <= terminal_width()
    return name + text if fits else wrapped(text, indent=" " * len(name), first=name)


_SAYS_NOTHING = ("label-of-the-whole",)  # features that every row of a kind has, but for rare ones


def _kinds(kinds: Mapping[str, int]) -> Iterator[tuple[Kind, int]]:
    for name in KIND_NAMES:
        if name in kinds:
            yield name, kinds[name]


def _counts(counts: Mapping[str, int]) -> str:
    shown = [f"{_name(name)} {count:,}" for name, count in list(counts.items())[:12]]
    return ", ".join(shown) + (f", ... ({len(counts)} in all)" if len(counts) > len(shown) else "")


def _name(name: str) -> str:
    """A label as it can be told from its neighbours: in quotes where blanks are part of it."""
    return name if name and name == " ".join(name.split()) == visible(name) else repr(name)


def _quantiles(summary: Mapping[str, float]) -> str:
    names = ("min", "p5", "p50", "p95", "p99", "max")
    return "  ".join(f"{click.style(name, dim=True)} {summary[name]:,.0f}" for name in names)


def _ranges(bars: Sequence[tuple[int, int, int]]) -> list[tuple[str, int]]:
    width = max((len(f"{end - 1:,}") for _, end, _ in bars), default=1)
    return [(f"{start:>{width},} - {end - 1:>{width},}", rows) for start, end, rows in bars]


def _bars(title: str, bars: Sequence[tuple[str, int]]) -> str:
    """A bar per line; every bar that stands for a row is at least a sliver."""
    most = max((rows for _, rows in bars), default=0)
    if not most:
        return ""
    eighths = " ▏▎▍▌▋▊▉"
    lines: list[tuple[str, str]] = []
    for name, rows in bars:
        size = max(round(rows / most * _BAR * 8), 1 if rows else 0)
        bar = "█" * (size // 8) + eighths[size % 8].strip()
        lines.append((f"  {name}", f"{click.style(bar, fg='blue')} {rows:,}"))
    return f"{click.style(title, bold=True)}\n{columns(lines)}"


def groups_text(groups: Sequence[Group]) -> str:
    """Findings by rule, each with its first places."""
    if not groups:
        return click.style("no findings", fg="green")
    return "\n".join(line for group in groups for line in _group(group))


def _group(group: Group) -> Iterator[str]:
    word = click.style(group.severity, fg=_COLOURS[group.severity])
    times = f" ({group.count:,} times)" if group.count > 1 else ""
    said = visible(f"{group.message}{times}. {group.fix}")
    yield wrapped(f"{word} {group.rule}: {said}".rstrip(), indent="    ", first="")
    if group.places:
        more = ", ..." if group.count > min(len(group.places), _PLACES_SHOWN) else ""
        yield wrapped(f"at {', '.join(group.places[:_PLACES_SHOWN])}{more}", indent="       ", first="    ")


def matrix_text(verdicts: Sequence[Verdict], *, all_targets: bool) -> str:
    """Who takes the data, and why not. Targets for which it is the wrong kind of data share one line."""
    rows: list[tuple[str, str, str]] = []
    whys: list[str] = []
    elsewhere: list[str] = []
    for verdict in verdicts:
        if all_targets and verdict.reasons and verdict.reasons[0].rule == "kind-not-taken":
            elsewhere.append(verdict.target)
            continue
        answer = click.style("yes", fg="green") if verdict.accepted else click.style("no", fg="red")
        name = f"{verdict.target}{f' ({verdict.family})' if verdict.family else ''}"
        rows.append((name, "/".join(verdict.methods), answer))
        whys.append(_why(verdict))
    head, *lines = columns(rows, header=("TARGET", "METHOD", "TAKES IT")).splitlines() or [""]
    text = "\n".join([head, *(_with_reasons(line, why) for line, why in zip(lines, whys, strict=True))])
    if elsewhere:
        text += f"\n{click.style('takes other kinds of data:', dim=True)} {', '.join(dict.fromkeys(elsewhere))}"
    wrong = {reason.message for verdict in verdicts for reason in verdict.reasons if reason.rule == _ROWS}
    if wrong:
        text = f"{click.style('nobody takes the data:', fg='red')} {', '.join(sorted(wrong))}\n\n{text.lstrip()}"
    return text.strip()


_ROWS = "row-errors"
"""A reason that all targets share: it is said once."""


def _with_reasons(line: str, why: str) -> str:
    return f"{line}\n{wrapped(why, indent='    ')}" if why else line


def _why(verdict: Verdict) -> str:
    errors = [reason for reason in verdict.reasons if reason.severity == "error"]
    shown = errors or [reason for reason in verdict.reasons if reason.severity == "warning"]
    shown = [reason for reason in shown if reason.rule != _ROWS]
    words = [_reason(reason) for reason in shown[:2]]
    more = f" (+{len(shown) - 2} more)" if len(shown) > 2 else ""
    return "; ".join(words) + more


def _reason(reason: Group) -> str:
    colour = _COLOURS[reason.severity]
    text = visible(reason.message if len(reason.message) <= 72 else f"{reason.message[:71]}…")
    times = f" ({reason.count:,}x)" if reason.count > 1 else ""
    return f"{click.style(reason.rule, fg=colour)}: {text}{times}"


def outcome_text(outcome: Outcome) -> str:
    """What was written, what was left out, what was found."""
    lines = [f"{file}: {rows:,} row{'s' if rows != 1 else ''}" for file, rows in outcome.written.items()]
    if not outcome.written:
        lines.append(click.style("nothing was written", fg="red"))
    lines += [f"left out: {rows:,} ({reason})" for reason, rows in outcome.dropped.items()]
    for finding in outcome.findings:
        word = click.style(finding.severity, fg=_COLOURS[finding.severity])
        lines.append(wrapped(f"{word} {finding.rule}: {visible(str(finding))}", indent="    ", first=""))
    return "\n".join(lines)


def leaks_text(found: Sequence[Leak]) -> str:
    """One line per leak."""
    if not found:
        return click.style("no leaks", fg="green")
    rows = [(leak.how, _place(leak.train), _place(leak.held_out), f"{leak.overlap:.2f}") for leak in found]
    return columns(rows, header=("HOW", "TRAIN", "HELD OUT", "OVERLAP"))


def _place(source: Any) -> str:
    return f"{source.file}:{source.line}" if source is not None else "?"


def hits_text(found: Iterable[Finding]) -> str:
    """One line per secret or piece of personal data."""
    rows = [(one.rule, one.message, f"{one.file}:{one.line}", one.path or "") for one in found]
    if not rows:
        return click.style("no secrets or personal data found", fg="green")
    return columns(rows, header=("RULE", "WHAT", "PLACE", "PATH"))


def targets_text(found: Sequence[Profile]) -> str:
    """One line per profile."""
    rows = [
        (
            one.target,
            "/".join(one.methods),
            one.family or "all",
            ", ".join(KIND_NAMES[kind] for kind in one.kinds),
            one.format or "",
        )
        for one in found
    ]
    return columns(rows, header=("TARGET", "METHODS", "MODELS", "TAKES", "FORMAT"))


def profiles_text(found: Sequence[Profile]) -> str:
    """Every rule of some profiles, with its source."""
    blocks: list[str] = []
    for one in found:
        lines = [click.style(one.name, bold=True)]
        for rule in one.rules:
            word = click.style(rule.severity, fg=_COLOURS[rule.severity])
            source = click.style(f"[{rule.doc.source}, {rule.doc.read_on}]", dim=True)
            lines.append(wrapped(f"{word} {rule.words()} {source}", indent="    ", first="  "))
        lines += [wrapped(f"note: {note}", indent="    ", first="  ") for note in one.notes]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)
