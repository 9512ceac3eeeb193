"""A job's report: one HTML file that needs nothing else. No script, no request to anywhere, light and dark."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from importlib.resources import files
from typing import Any

from finetune_sdk import __version__
from finetune_sdk.evaluate import chart
from finetune_sdk.evaluate.result import Evaluated, LabelScore, Metric, Outcome, Sample, Score, Verdict
from finetune_sdk.provider import Plan
from finetune_sdk.redact import redact
from finetune_sdk.spec import JobSpec
from finetune_sdk.types import Artifact, Event, Finding, JobStatus, Usage

_NAMES = {"exact_match": "exact match", "accuracy": "accuracy", "macro_f1": "macro-F1", "perplexity": "perplexity"}
_VERDICT: Mapping[Verdict, str] = {"better": "good", "worse": "bad", "not decided": "open", "not tested": "open"}
_VERBS: Mapping[Verdict, tuple[str, str]] = {
    "better": ("improved", ""),
    "worse": ("got worse,", ""),
    "not decided": ("went", ": too little to tell it from chance. More held-out rows would"),
    "not tested": ("went", ""),
}
_SHOWN = 3  # samples of one kind that stand open; the others are folded away
_OUTCOME: Mapping[Outcome, tuple[str, str]] = {
    "free": ("asked for", ""),
    "won": ("wrong before, right now", "good"),
    "lost": ("right before, wrong now", "bad"),
    "missed": ("wrong both times", "open"),
    "kept": ("right both times", ""),
}
_MOST_LABELS = 12  # a larger confusion table cannot be read


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything a report shows. It is shown as it stands: a running or failed job has a report too."""

    job_id: str
    status: JobStatus
    error: str | None = None
    spec: JobSpec
    spec_text: str
    """The job description as YAML."""
    plan: Plan
    events: Sequence[Event] = ()
    evaluated: Evaluated | None = None
    artifacts: Sequence[Artifact] = ()
    receipt: Mapping[str, Any] | None = None
    usage: Usage | None = None
    created_at: datetime


def render(report: Report) -> str:
    """The HTML text. Secrets are taken out, whatever text they came in with."""
    style = (files("finetune_sdk.evaluate") / "report.css").read_text(encoding="utf-8")
    parts = [_header(report), _scores(report), _losses(report), _answers(report), _labels(report), *_record(report)]
    return redact(
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(report.spec.model_id)}: {escape(report.job_id)}</title>\n<style>\n{style}</style></head>\n"
        "<body><main>\n" + "\n".join(part for part in parts if part) + f"\n{_footer(report)}\n</main></body></html>\n"
    )


# --- what it came to ------------------------------------------------------------------------------------------------


def _header(report: Report) -> str:
    spec, status = report.spec, report.status
    shade = {JobStatus.SUCCEEDED: "good", JobStatus.FAILED: "bad"}.get(status, "open")
    adapter = f" with {spec.adapter.kind}" if spec.adapter is not None else ""
    error = f'<p class="bad">{escape(report.error)}</p>' if report.error else ""
    return (
        f'<header><div class="eyebrow"><span class="badge {shade}">{escape(status)}</span>'
        f"<span>{escape(report.job_id)}</span><span>{report.created_at:%Y-%m-%d %H:%M} UTC</span></div>"
        f"<h1>{escape(spec.model_id)}</h1>"
        f'<p class="lead">{escape(spec.method.kind)}{escape(adapter)}, trained by {escape(spec.provider)}</p>'
        f"{error}{_verdict(report.evaluated)}{_tiles(report)}</header>"
    )


def _verdict(found: Evaluated | None) -> str:
    """The first metric that was measured, as a sentence."""
    metric = next((one for one in found.metrics if one.tuned is not None), None) if found is not None else None
    if metric is None or metric.tuned is None:
        return ""
    name, tuned = _NAMES[metric.name].capitalize(), metric.tuned
    rows = f"on {tuned.rows:,} held-out rows"
    if metric.base is None:
        text = f"{name} is <b>{tuned.value:.3f}</b> {rows}. Without a baseline nobody knows what training did to it."
        return f'<p class="verdict">{text}</p>'
    verb, tail = _VERBS[metric.verdict]
    p_value = metric.change.p_value if metric.change is not None else None
    sure = f" ({_p(p_value)})" if p_value is not None else ""
    return (
        f'<p class="verdict">{name} {verb} from <b>{metric.base.value:.3f}</b> to <b>{tuned.value:.3f}</b> '
        f"{rows}{sure}{tail}.</p>"
    )


def _tiles(report: Report) -> str:
    tiles = list(_facts(report))
    cells = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>' for name, value in tiles
    )
    return f'<div class="tiles">{cells}</div>' if tiles else ""


def _facts(report: Report) -> Iterator[tuple[str, str]]:
    for file in report.plan.data:
        yield f"{file.role} rows", f"{file.rows:,}"
    steps = [event.step for event in report.events if event.step is not None]
    if steps:
        yield "optimizer steps", f"{max(steps):,}"
    usage = report.usage
    if usage is not None and usage.train_s is not None:
        yield "training time", _duration(usage.train_s)
    if usage is not None and usage.trained_tokens is not None:
        yield "tokens trained on", f"{usage.trained_tokens:,}"
    if usage is not None and usage.peak_memory_bytes is not None:
        yield "peak memory", f"{usage.peak_memory_bytes / 2**30:.2f} GiB"


def _scores(report: Report) -> str:
    found = report.evaluated
    if found is None or not found.metrics:
        return ""
    rows = "".join(map(_metric_row, found.metrics))
    numbers = "".join(f'<th class="number" scope="col">{name}</th>' for name in ("base", "tuned", "change"))
    head = f'<tr><th></th>{numbers}<td class="wide"></td><td></td></tr>'
    legend = (
        '<div class="legend"><span><i class="of-base"></i>base</span><span><i class="of-train"></i>tuned</span></div>'
    )
    return (
        f'<section><h2>Before and after</h2><div class="card">{legend}<table><thead>{head}</thead><tbody>{rows}</tbody>'
        f"</table></div>{_flips(found)}{_list(found.notes)}</section>"
    )


def _metric_row(metric: Metric) -> str:
    badge = ""
    if metric.change is not None:
        badge = f'<span class="badge {_VERDICT[metric.verdict]}">{metric.verdict}</span>'
    picture = ""
    if metric.tuned is not None and metric.name != "perplexity":
        picture = chart.intervals(_whiskers(metric.base), _whiskers(metric.tuned) or (0, 0, 0))
    cells = [_score(metric.base), _score(metric.tuned), _change(metric), picture, badge]
    shape = ["number", "number", "number", "wide", ""]
    inner = "".join(f'<td class="{kind}">{cell}</td>' for kind, cell in zip(shape, cells, strict=True))
    return f'<tr><th scope="row">{_NAMES[metric.name]}</th>{inner}</tr>'


def _whiskers(score: Score | None) -> tuple[float, float, float] | None:
    if score is None:
        return None
    return (
        score.value,
        score.value if score.low is None else score.low,
        score.value if score.high is None else score.high,
    )


def _score(score: Score | None) -> str:
    if score is None:
        return '<span class="soft">not measured</span>'
    bounds = "" if score.low is None or score.high is None else f"<small>{score.low:.3f} to {score.high:.3f}</small>"
    return f"{score.value:.3f}{bounds}"


def _change(metric: Metric) -> str:
    change = metric.change
    if change is None:
        return ""
    form = "&times;{:.3f}" if metric.name == "perplexity" else "{:+.3f}"
    bounds = ""
    if change.low is not None and change.high is not None:
        bounds = f"<small>{form.format(change.low)} to {form.format(change.high)}</small>"
    return form.format(change.value) + bounds


def _flips(found: Evaluated) -> str:
    lines: list[str] = []
    if found.flips is not None:
        flips = found.flips
        lines.append(
            f"Row by row: <b>{flips.won:,}</b> won, <b>{flips.lost:,}</b> lost, {flips.kept:,} right both times, "
            f"{flips.missed:,} wrong both times."
        )
    if found.majority_share is not None:
        lines.append(f"Always giving the most frequent answer would score {found.majority_share:.3f}.")
    lines.append("Small numbers are 95 % intervals.")
    return f'<p class="soft">{" ".join(lines)}</p>'


def _losses(report: Report) -> str:
    train = [
        (float(one.step), one.metrics["loss"])
        for one in report.events
        if one.step is not None and "loss" in one.metrics
    ]
    held_out = [
        (float(one.step), one.metrics["eval_loss"])
        for one in report.events
        if one.step is not None and "eval_loss" in one.metrics
    ]
    picture = chart.loss_curve(train, held_out)
    if not picture:
        return ""
    legend = '<span><i class="of-train"></i>training rows</span>'
    legend += '<span><i class="of-held-out"></i>validation rows</span>' if held_out else ""
    table = "".join(
        _row([f"{step:.0f}", f"{loss:.4f}"]) for step, loss in held_out or train[:: max(1, len(train) // 20)]
    )
    return (
        f'<section><h2>Loss</h2><div class="card"><div class="legend">{legend}</div>{picture}</div>'
        f"<details><summary>as numbers</summary><table><thead>{_row(['step', 'loss'], head=True)}</thead>"
        f"<tbody>{table}</tbody></table></details></section>"
    )


# --- what it says ---------------------------------------------------------------------------------------------------


def _answers(report: Report) -> str:
    if report.evaluated is None or not report.evaluated.samples:
        return ""
    samples = report.evaluated.samples
    groups = "".join(
        _group(words, shade, [one for one in samples if one.outcome == outcome])
        for outcome, (words, shade) in _OUTCOME.items()
    )
    return f'<section class="answers"><h2>Answers</h2>{groups}</section>'


def _group(words: str, shade: str, samples: Sequence[Sample]) -> str:
    if not samples:
        return ""
    cards = [f'<div class="card">{_card(sample)}</div>' for sample in samples]
    folded = "".join(cards[_SHOWN:])
    more = f"<details><summary>{len(cards) - _SHOWN} more</summary>{folded}</details>" if folded else ""
    return f'<div class="of {shade}">{words}</div>{"".join(cards[:_SHOWN])}{more}'


def _card(sample: Sample) -> str:
    rows = [("prompt", sample.prompt, ""), ("expected", sample.expected, ""), ("base", sample.base, "")]
    rows.append(("tuned", sample.tuned, "is-tuned"))
    pairs = "".join(
        f'<dt>{name}</dt><dd class="{kind}">{_text(text)}</dd>'
        for name, text, kind in rows
        if text is not None or name == "tuned"
    )
    return f'<dl class="answer">{pairs}</dl>'


def _text(text: str | None) -> str:
    if text is None:
        return '<span class="nothing">no answer</span>'
    return escape(text.strip()) or '<span class="nothing">empty</span>'


def _labels(report: Report) -> str:
    found = report.evaluated
    if found is None or not found.labels:
        return ""
    head = _row(["label", "rows", "base F1", "tuned F1", "precision", "recall"], head=True)
    rows = "".join(
        _row([one.label, f"{one.rows:,}", _f1(one.base), _f1(one.tuned), *_precision_recall(one.tuned)])
        for one in found.labels
    )
    table = f'<div class="card"><table><thead>{head}</thead><tbody>{rows}</tbody></table></div>'
    return f"<section><h2>Labels</h2>{table}{_confusion(found)}</section>"


def _f1(score: LabelScore | None) -> str:
    return "" if score is None else f"{score.f1:.3f}"


def _precision_recall(score: LabelScore | None) -> tuple[str, str]:
    return ("", "") if score is None else (f"{score.precision:.3f}", f"{score.recall:.3f}")


def _confusion(found: Evaluated) -> str:
    names = list(found.confusion)
    if not 2 <= len(names) <= _MOST_LABELS:
        return ""
    columns = [*names, *([""] if any("" in row for row in found.confusion.values()) else [])]
    head = "".join(f'<th scope="col">{escape(name) or "no label"}</th>' for name in columns)
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(_heat(row, column) for column in columns)}</tr>'
        for name, row in found.confusion.items()
    )
    return (
        '<h3>What the tuned model answered (columns) where the row says the label was expected</h3><div class="card">'
        f'<table class="heat"><thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _heat(row: Mapping[str, int], column: str) -> str:
    count, total = row.get(column, 0), sum(row.values())
    shade = round(70 * count / total) if total else 0
    tint = f' style="background: color-mix(in srgb, var(--tuned) {shade}%, transparent)"' if shade else ""
    return f"<td{tint}>{count:,}</td>"


# --- how it was made ------------------------------------------------------------------------------------------------


def _record(report: Report) -> Iterator[str]:
    plan = report.plan
    if plan.data:
        rows = "".join(
            _row([file.role, f"{file.rows:,}", file.format, file.source, file.sha256[:12]]) for file in plan.data
        )
        head = _row(["", "rows", "format", "source", "sha256"], head=True)
        yield f'<section><h2>Data</h2><div class="card"><table><thead>{head}</thead><tbody>{rows}</tbody></table></div>'
        yield f"{_findings(plan.findings)}</section>"
    choices = f"<h3>Choices made for “auto”, with their reasons</h3>{_list(plan.notes)}" if plan.notes else ""
    yield f"<section><h2>Settings</h2><pre>{escape(report.spec_text)}</pre>{choices}{_request(plan)}</section>"
    yield _log(report.events)
    yield _left_behind(report)


def _findings(findings: Sequence[Finding]) -> str:
    if not findings:
        return '<p class="soft">The check of the data found nothing to mention.</p>'
    shade = {"error": "bad", "warning": "open", "info": ""}
    items = "".join(
        f'<li><span class="{shade[one.severity]}">{one.severity}</span> {escape(str(one))}</li>' for one in findings
    )
    return f'<h3>Findings in the data</h3><ul class="plain">{items}</ul>'


def _request(plan: Plan) -> str:
    return f"<details><summary>the exact request</summary><pre>{_json(plan.request)}</pre></details>"


def _log(events: Sequence[Event]) -> str:
    """What happened apart from the progress of training."""
    told = [event for event in events if event.message and "loss" not in event.metrics]
    rows = "".join(_row([f"{event.at:%H:%M:%S}", event.level, event.message]) for event in told)
    return (
        f"<details><summary>what happened (UTC)</summary><table><tbody>{rows}</tbody></table></details>" if rows else ""
    )


def _left_behind(report: Report) -> str:
    if not report.artifacts and report.receipt is None:
        return ""
    rows = "".join(_row([one.kind, one.uri, (one.sha256 or "")[:12]]) for one in report.artifacts)
    head = _row(["", "where", "sha256"], head=True)
    table = f'<div class="card"><table><thead>{head}</thead><tbody>{rows}</tbody></table></div>' if rows else ""
    receipt = ""
    if report.receipt is not None:
        receipt = (
            "<details><summary>receipt: what repeats this run (hashes, versions, seeds)</summary>"
            f"<pre>{_json(report.receipt)}</pre></details>"
        )
    return f"<section><h2>Artifacts</h2>{table}{receipt}</section>"


def _footer(report: Report) -> str:
    facts = (f"finetune-sdk {__version__}", f"spec {report.spec.sha256[:12]}", f"cost: {_cost(report.plan)}")
    return f"<footer>{escape(' · '.join(facts))}</footer>"


def _cost(plan: Plan) -> str:
    return f"{'unknown' if plan.cost.usd is None else f'{plan.cost.usd:.2f} USD'} ({plan.cost.basis})"


# --- pieces ---------------------------------------------------------------------------------------------------------


def _row(cells: Sequence[str], *, head: bool = False) -> str:
    tag = "th" if head else "td"
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def _list(lines: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<ul class="plain">{items}</ul>' if items else ""


def _json(value: Any) -> str:
    return escape(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def _p(value: float) -> str:
    return "p&nbsp;&lt;&nbsp;0.001" if value < 0.001 else f"p&nbsp;=&nbsp;{value:.3f}"


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min" if whole >= 3600 else f"{whole // 60} min {whole % 60} s"
