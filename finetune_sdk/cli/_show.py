"""How plans, jobs and evaluations look in a terminal. Text with colours; `click.echo` drops the colours in a pipe."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from finetune_sdk._records import JobRecord
from finetune_sdk._view import colour
from finetune_sdk.cli._out import columns, short_path, wrapped
from finetune_sdk.evaluate import Change, Evaluated, Metric, Sample, Score
from finetune_sdk.home import job_folder
from finetune_sdk.provider import Plan
from finetune_sdk.spec import JobSpec
from finetune_sdk.types import Artifact, Estimate, Finding, JobStatus

_SEVERITY = {"error": "red", "warning": "yellow", "info": "cyan"}
_VERDICT = {"better": "green", "worse": "red", "not decided": "yellow", "not tested": "yellow"}
_MOST_FINDINGS = 20
_SAMPLES_SHOWN = 3


# --- plans ----------------------------------------------------------------------------------------------------------


def plan_text(spec: JobSpec, plan: Plan, *, request: bool) -> str:
    """The plan for people, what matters most last; `request` adds the exact request."""
    parts = [
        _title(spec),
        _request(plan) if request else "",
        _data(plan),
        _notes(plan.notes),
        _findings(plan.findings),
        _cost(plan.cost, spec),
    ]
    return "\n".join(part for part in parts if part)


def _request(plan: Plan) -> str:
    body = json.dumps(msgspec.to_builtins(plan.request), indent=2, ensure_ascii=False)
    return f"{_head('request')}\n" + "\n".join(f"  {line}" for line in body.splitlines())


def _title(spec: JobSpec) -> str:
    adapter = spec.adapter.kind if spec.adapter is not None else "provider's adapter"
    return click.style(" · ".join((spec.provider, spec.model_id, spec.method.kind, adapter)), bold=True)


def _head(text: str) -> str:
    return click.style(text, bold=True)


def _data(plan: Plan) -> str:
    rows = [("", file.role, f"{file.rows:,} rows", file.format, short_path(file.source)) for file in plan.data]
    return f"{_head('data')}\n{columns(rows)}" if rows else ""


def _findings(findings: Sequence[Finding]) -> str:
    lines = [_finding(finding) for finding in findings[:_MOST_FINDINGS]]
    if len(findings) > _MOST_FINDINGS:
        lines.append(f"  ... and {len(findings) - _MOST_FINDINGS} more: --format json shows all")
    return "\n".join([_head("findings"), *lines]) if lines else ""


def _finding(finding: Finding) -> str:
    text = str(finding)
    if finding.file is not None:
        text = text.replace(finding.file, short_path(finding.file), 1)
    word = click.style(finding.severity, fg=_SEVERITY[finding.severity])
    return wrapped(f"{word} {text} [{finding.rule}]", indent="    ", first="  ")


def _notes(notes: Sequence[str]) -> str:
    return "\n".join([_head("choices"), *(wrapped(note, indent="    ", first="  ") for note in notes)]) if notes else ""


def _cost(cost: Estimate, spec: JobSpec) -> str:
    usd = "unknown" if cost.usd is None else f"{cost.usd:.2f} USD"
    limit = spec.budget.max_cost_usd
    budget = "" if limit is None else f"; the budget is {limit:g} USD"
    tokens = "" if cost.tokens is None else f"; {'' if cost.tokens_exact else 'about '}{cost.tokens:,} tokens"
    return f"{_head('cost')}\n{wrapped(f'{usd} ({cost.basis}){tokens}{budget}')}"


# --- jobs -----------------------------------------------------------------------------------------------------------


def record_json(record: JobRecord, home: Path, *, full: bool = False) -> dict[str, Any]:
    """A job for programs; `full` adds the spec and the plan."""
    plain: dict[str, Any] = msgspec.to_builtins(record)
    left_out = () if full else ("spec", "plan")
    plain = {key: value for key, value in plain.items() if key not in ("submitter", "intent", *left_out)}
    return {**plain, "base_model": base_model(record), "folder": str(job_folder(home, record.id))}


def base_model(record: JobRecord) -> str:
    """The base model's id at the job's provider."""
    model = record.spec.get("model")
    return str(model.get(record.provider, "")) if isinstance(model, Mapping) else str(model)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]


def status_text(status: JobStatus) -> str:
    """A status in its colour."""
    return click.style(str(status), fg=colour(status))


def jobs_table(records: Sequence[JobRecord]) -> str:
    """One line per job."""
    header = ("ID", "STATUS", "PROVIDER", "MODEL", "METHOD", "CREATED (UTC)")
    rows = [
        (
            record.id,
            status_text(record.status),
            record.provider,
            base_model(record),
            str(record.spec.get("method", {}).get("kind", "")),
            f"{record.created_at:%Y-%m-%d %H:%M}",
        )
        for record in records
    ]
    return columns(rows, header=header) if rows else "no jobs yet"


def job_text(record: JobRecord, home: Path) -> str:
    """Everything about one job that fits a screen."""
    return columns(list(_job_rows(record, home)))


def _job_rows(record: JobRecord, home: Path) -> Iterator[tuple[str, str]]:
    yield "job", record.id
    yield "status", status_text(record.status) + (f" (attempt {record.attempt})" if record.attempt > 1 else "")
    yield "provider", record.provider
    yield "base model", base_model(record)
    yield "method", str(record.spec.get("method", {}).get("kind", ""))
    yield "created", f"{record.created_at:%Y-%m-%d %H:%M:%S} UTC"
    yield "at provider", record.ref or "not yet"
    facts = {"result": record.model, "error": record.error, "unknown": record.doubt}
    yield from ((name, text) for name, text in facts.items() if text)
    yield from ((name, f"{value:.4g}") for name, value in record.metrics.items())
    if record.usage is not None and record.usage.trained_tokens is not None:
        yield "trained tokens", f"{record.usage.trained_tokens:,}"
    if record.usage is not None and record.usage.train_s is not None:
        yield "training", duration(record.usage.train_s)
    yield "folder", str(job_folder(home, record.id))


def artifacts_text(artifacts: Sequence[Artifact]) -> str:
    """One line per artifact."""
    return columns([("", artifact.kind, short_path(artifact.uri)) for artifact in artifacts])


def duration(seconds: float) -> str:
    """`75.2` as `1 min 15 s`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    hours, minutes = whole // 3600, whole % 3600 // 60
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {whole % 60} s"


# --- evaluations ----------------------------------------------------------------------------------------------------


def evaluation_text(found: Evaluated) -> str:
    """Before and after, with intervals; then answers to read."""
    header = ("", f"{found.rows:,} held-out rows", "base", "tuned", "change", "")
    lines = [columns([("", *_metric_cells(metric)) for metric in found.metrics], header=header)]
    if found.flips is not None:
        flips = found.flips
        lines.append(
            f"  rows: {flips.won} won, {flips.lost} lost, {flips.kept} right and {flips.missed} wrong both times"
        )
    if found.majority_share is not None:
        lines.append(f"  always giving the most frequent answer would score {found.majority_share:.3f}")
    lines += [wrapped(f"note: {note}") for note in found.notes]
    lines += [_sample(sample) for sample in shown_samples(found)]
    return "\n".join(lines)


def shown_samples(found: Evaluated) -> Sequence[Sample]:
    """The few samples worth a place in a terminal: what was asked for first, then what changed."""
    order = ("free", "won", "lost", "missed", "kept")
    return sorted(found.samples, key=lambda sample: order.index(sample.outcome))[:_SAMPLES_SHOWN]


def _metric_cells(metric: Metric) -> tuple[str, ...]:
    verdict = click.style(metric.verdict, fg=_VERDICT[metric.verdict]) if metric.change is not None else ""
    return metric.name, score_text(metric.base), score_text(metric.tuned), change_text(metric), verdict


def score_text(score: Score | None) -> str:
    """`0.975 (0.94 to 0.99)`."""
    if score is None:
        return "-"
    bounds = "" if score.low is None or score.high is None else f" ({score.low:.2f} to {score.high:.2f})"
    return f"{score.value:.3f}{bounds}"


def change_text(metric: Metric) -> str:
    """`+0.95 (+0.90 to +0.98)`; a ratio for perplexity."""
    change: Change | None = metric.change
    if change is None:
        return "-"
    form = "x{:.2f}" if metric.name == "perplexity" else "{:+.2f}"
    low, high = ("" if bound is None else form.format(bound) for bound in (change.low, change.high))
    return form.format(change.value) + (f" ({low} to {high})" if low and high else "")


def _sample(sample: Sample) -> str:
    answers = {"expected": sample.expected, "base": sample.base, "tuned": sample.tuned}
    rows = [("", "prompt", _one_line(sample.prompt))]
    rows += [("", name, _one_line(text)) for name, text in answers.items() if text is not None]
    return "\n" + columns([(space, click.style(name, dim=True), text) for space, name, text in rows])


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 100 else line[:97] + "..."
