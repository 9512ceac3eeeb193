"""`finetune report`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from finetune_sdk.cli import _out
from finetune_sdk.cli._app import settings
from finetune_sdk.cli.jobs import attach, job_argument

if TYPE_CHECKING:
    from finetune_sdk.evaluate import Evaluated
    from finetune_sdk.job import FineTuneJob
    from finetune_sdk.provider import Plan


@click.command("report")
@job_argument
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Default: the job's folder."
)
@settings
def command(job_id: str, out: Path | None) -> None:
    """Write a job's report: one HTML file with the loss curve, before and after, answers, settings and receipt."""
    from finetune_sdk.types import JobStatus  # noqa: PLC0415 - not for `--help`

    job = attach(job_id)
    record = job.refresh()
    evaluated = None
    if record.status is JobStatus.SUCCEEDED and record.job_spec.evaluation is not None:
        evaluated = job.evaluation()
    path = write(job, evaluated, out or job.folder / "report.html")
    _out.data({"report": str(path)}, lambda: str(path))


def write(job: FineTuneJob, evaluated: Evaluated | None, path: Path) -> Path:
    """Write the report of a job as it stands. Atomic: a report is whole or not there."""
    from finetune_sdk import config  # noqa: PLC0415
    from finetune_sdk.evaluate.report import Report, render  # noqa: PLC0415

    record, artifacts = job.record, job.artifacts()
    receipts = [Path(one.uri) for one in artifacts if one.kind == "receipt" and Path(one.uri).is_file()]
    report = Report(
        job_id=job.id,
        status=record.status,
        error=record.error,
        spec=record.job_spec,
        spec_text=config.dump(record.job_spec),
        plan=_plan(record.plan),
        events=tuple(job.events()),
        evaluated=evaluated,
        artifacts=tuple(artifacts),
        receipt=json.loads(receipts[0].read_text(encoding="utf-8")) if receipts else None,
        usage=record.usage,
        created_at=record.created_at,
    )
    part = path.with_name(path.name + ".part")
    part.write_text(render(report), encoding="utf-8")
    part.replace(path)
    return path


def _plan(stored: Mapping[str, Any]) -> Plan:
    """The plan as the store keeps it, typed again."""
    import msgspec  # noqa: PLC0415

    from finetune_sdk.provider import Plan  # noqa: PLC0415
    from finetune_sdk.types import DataFile, Estimate, Finding  # noqa: PLC0415

    return Plan(
        provider=stored["provider"],
        request=stored["request"],
        data=msgspec.convert(stored["data"], tuple[DataFile, ...]),
        findings=msgspec.convert(stored["findings"], tuple[Finding, ...]),
        cost=msgspec.convert(stored["cost"], Estimate),
        notes=tuple(stored["notes"]),
    )
