"""A dataset's check as one HTML file without anything from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from finetune_sdk.data.tools.check import CheckReport, Group, Verdict

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; } th, td { text-align: left; padding: .3rem .8rem .3rem 0;
border-bottom: 1px solid #8884; vertical-align: top; } td.rule { white-space: nowrap; }
th.n { text-align: right; } td.n { text-align: right; font-variant-numeric: tabular-nums; }
.error, .no { color: #c0392b; } .warning { color: #b07d12; } .info { color: #2980b9; } .yes { color: #27824a; }
.bar { display: inline-block; height: .8em; background: #4a7fc1; border-radius: 2px; }
small { color: #888; } h2 { margin-top: 2rem; }
"""


def report_html(found: CheckReport) -> str:
    """The page."""
    names = ", ".join(escape(one.file) for one in found.files)
    parts = [
        f"<h1>{names}</h1>",
        "".join(f"<p>{escape(str(one))}</p>" for one in found.files),
        _table(("", "rows"), ((escape(kind), f"{count:,}") for kind, count in found.kinds.items())),
        "<h2>Lengths</h2>",
        _lengths(found),
        _bars("Characters per row", [(f"{start:,} to {end - 1:,}", rows) for start, end, rows in found.character_bars]),
        _bars("Rows per label", list(found.labels.items())[:40]) if found.labels else "",
        _bars("Turns by role", list(found.roles.items())) if found.roles else "",
        "<h2>Findings</h2>",
        _groups(found.findings),
        "<h2>Targets</h2>" if found.targets else "",
        _matrix(found.targets) if found.targets else "",
    ]
    title = f"<title>Check of {names}</title>"
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width">{title}<style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'


def _lengths(found: CheckReport) -> str:
    names = ("min", "p5", "p25", "p50", "p75", "p95", "p99", "max")
    about = "tokens" if found.tokens_exact else f"tokens (about; {found.tokens_by})"
    measured = [("characters", found.characters), (about, found.tokens)]
    if found.turns["count"]:
        measured.append(("turns", found.turns))
    rows = ((escape(name), *(f"{summary[key]:,.0f}" for key in names)) for name, summary in measured)
    return _table(("", *names), rows)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are HTML already; the first column is text, the others are numbers."""
    head = "".join(f"<th{' class=n' if at else ''}>{escape(name)}</th>" for at, name in enumerate(header))
    body = "".join(
        f"<tr><td>{row[0]}</td>{''.join(f'<td class=n>{cell}</td>' for cell in row[1:])}</tr>" for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _bars(title: str, bars: Sequence[tuple[str, int]]) -> str:
    most = max((rows for _, rows in bars), default=0) or 1
    rows = "".join(
        f"<tr><td class=n>{escape(name)}</td>"
        f"<td><span class=bar style='width:{rows / most * 24:.2f}rem'></span> {rows:,}</td></tr>"
        for name, rows in bars
    )
    return f"<h3>{escape(title)}</h3><table>{rows}</table>"


def _groups(groups: Sequence[Group]) -> str:
    if not groups:
        return "<p class=yes>None.</p>"
    rows = "".join(
        f"<tr><td class={group.severity}>{group.severity}</td><td class=rule>{escape(group.rule)}</td>"
        f"<td>{escape(group.message)}. {escape(group.fix)}<br><small>{escape(', '.join(group.places))}</small></td>"
        f"<td class=n>{group.count:,}</td></tr>"
        for group in groups
    )
    return f"<table>{rows}</table>"


def _matrix(verdicts: Sequence[Verdict]) -> str:
    rows = "".join(
        f"<tr><td>{escape(one.target)} {escape(one.family)}</td><td>{escape('/'.join(one.methods))}</td>"
        f"<td class={_yes_no(one)}>{_yes_no(one)}</td><td>{_reasons(one)}</td></tr>"
        for one in verdicts
    )
    return f"<table><tr><th>target</th><th>methods</th><th>takes it</th><th>why</th></tr>{rows}</table>"


def _yes_no(verdict: Verdict) -> str:
    return "yes" if verdict.accepted else "no"


def _reasons(verdict: Verdict) -> str:
    return "<br>".join(
        f"<span class={reason.severity}>{escape(reason.rule)}</span> {escape(reason.message)}"
        f"{f' ({reason.count:,} times)' if reason.count > 1 else ''}"
        f"{f' <small>{escape(reason.source)}</small>' if reason.source else ''}"
        for reason in verdict.reasons
    )
