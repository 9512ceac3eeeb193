"""`finetune jobs`: everything that runs or ran."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from finetune_sdk.cli import _out
from finetune_sdk.cli._app import current, settings
from finetune_sdk.home import home_folder

if TYPE_CHECKING:
    from finetune_sdk._records import JobRecord
    from finetune_sdk.job import FineTuneJob

F = TypeVar("F", bound=Callable[..., Any])


def complete_jobs(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Ids of the jobs of this home."""
    from finetune_sdk.store import JobStore  # noqa: PLC0415

    home: str | None = ctx.params.get("home")
    jobs = JobStore(home).jobs()
    return [CompletionItem(job.id, help=str(job.status)) for job in jobs if job.id.startswith(incomplete)]


job_argument = click.argument("job_id", metavar="JOB", shell_complete=complete_jobs)
"""A job by its id, or by the start of it where that names one job only."""


def attach(job_id: str) -> FineTuneJob:
    """The job in this command's home. Raises `JobNotFound`."""
    from finetune_sdk.job import FineTuneJob  # noqa: PLC0415 - not for `--help`

    return FineTuneJob.attach(job_id, home=current().home)


def _answer(record: JobRecord, job: FineTuneJob, text: str) -> None:
    from finetune_sdk.cli._show import record_json  # noqa: PLC0415

    _out.data(record_json(record, job.home), lambda: text)


@click.group("jobs")
@settings
def group() -> None:
    """List, follow, cancel, pause, resume and remove jobs. JOB is an id, or the start of one."""


@group.command("ls")
@click.option("--refresh", is_flag=True, help="Ask the providers first; without it the list is as last seen.")
@settings
def ls(refresh: bool) -> None:
    """List all jobs, newest first."""
    from finetune_sdk.cli._show import jobs_table, record_json  # noqa: PLC0415
    from finetune_sdk.job import FineTuneJob  # noqa: PLC0415

    jobs = FineTuneJob.list(home=current().home)
    records = [job.refresh() if refresh else job.record for job in jobs]
    _out.data(
        [record_json(record, job.home) for record, job in zip(records, jobs, strict=True)],
        lambda: jobs_table(records),
    )


@group.command("show")
@job_argument
@settings
def show(job_id: str) -> None:
    """Show one job as it stands now; as JSON with its spec and plan."""
    from finetune_sdk.cli._show import job_text, record_json  # noqa: PLC0415

    job = attach(job_id)
    record = job.refresh()
    _out.data(record_json(record, job.home, full=True), lambda: job_text(record, job.home))


@group.command("events")
@job_argument
@click.option("--after", metavar="CURSOR", help="Only what came after this event.")
@settings
def events(job_id: str, after: str | None) -> None:
    """Print the events so far."""
    from finetune_sdk.cli._watch import event_line  # noqa: PLC0415
    from finetune_sdk.types import event_json  # noqa: PLC0415

    found = attach(job_id).events(after=after)
    _out.data([event_json(event) for event in found], lambda: "\n".join(map(event_line, found)))


@group.command("follow")
@job_argument
@click.option("--after", metavar="CURSOR", help="Only what comes after this event.")
@settings
def follow(job_id: str, after: str | None) -> None:
    """Print events as they come, until the job ends; as JSON one object per line.

    Exit code 1 when the job failed or was cancelled. Ctrl-C stops following; the job goes on.
    """
    from finetune_sdk.cli._watch import Lines, rounds  # noqa: PLC0415
    from finetune_sdk.types import event_json  # noqa: PLC0415

    job = attach(job_id)
    lines = Lines(err=False)
    for record, fresh in rounds(job, after=after, deadline_s=None):
        if current().json:
            for event in fresh:
                click.echo(_out.json_text(event_json(event), indent=None))
        else:
            lines.show(record, fresh)
        sys.stdout.flush()  # whoever reads the other end of a pipe wants each event when it comes
    job.wait(timeout_s=0)


@group.command("watch")
@click.argument("job_ids", metavar="[JOB]...", nargs=-1, shell_complete=complete_jobs)
@settings
def watch(job_ids: tuple[str, ...]) -> None:
    """Tell every change of status of many jobs (none given: all unfinished ones), until nothing more will happen.

    All are asked about in one loop, in bulk where a provider can. As JSON one object per line. Exit code 1 when one of
    them failed or was cancelled. Ctrl-C stops watching; the jobs go on.
    """
    from finetune_sdk.cli._show import record_json  # noqa: PLC0415
    from finetune_sdk.cli._watch import status_line  # noqa: PLC0415
    from finetune_sdk.job import FineTuneJob  # noqa: PLC0415

    wanted = [attach(job_id).id for job_id in job_ids] or None
    home = home_folder(current().home)
    last: dict[str, JobRecord] = {}
    for record in FineTuneJob.watch_all(wanted, home=home):
        told = last.get(record.id)
        last[record.id] = record
        if current().json:
            click.echo(_out.json_text(record_json(record, home), indent=None))
        elif told is None or told.status is not record.status:
            click.echo(status_line(record))
        sys.stdout.flush()
    bad = [record.id for record in last.values() if record.status in ("failed", "cancelled")]
    if bad:
        raise click.exceptions.Exit(1)


@group.command("checkpoints")
@job_argument
@settings
def checkpoints(job_id: str) -> None:
    """List the checkpoints, lowest step first."""
    found = attach(job_id).checkpoints()
    rows = [(str(one.step), _metrics(one.metrics), _out.short_path(one.ref)) for one in found]
    _out.data(found, lambda: _out.columns(rows, header=("STEP", "METRICS", "REF")) if rows else "no checkpoints yet")


def _metrics(metrics: Any) -> str:
    return " ".join(f"{name}={value:.4g}" for name, value in metrics.items())


@group.command("cancel")
@job_argument
@settings
def cancel(job_id: str) -> None:
    """Ask a job to stop. Does nothing when it is over."""
    job = attach(job_id)
    record = job.cancel()
    _answer(record, job, f"{job.id} is {record.status}")


@group.command("pause")
@job_argument
@settings
def pause(job_id: str) -> None:
    """Ask a job to stop at a checkpoint, to be resumed."""
    job = attach(job_id)
    record = job.pause()
    _out.say(f"continue it:  {_out.hint('jobs', 'resume', job.id)}")
    _answer(record, job, f"{job.id} is {record.status}")


@group.command("resume")
@job_argument
@settings
def resume(job_id: str) -> None:
    """Continue a paused, failed or cancelled job from its last checkpoint."""
    job = attach(job_id)
    record = job.resume()
    _out.say(f"follow it:  {_out.hint('jobs', 'follow', job.id)}")
    _answer(record, job, f"{job.id} is {record.status}")


@group.command("reconcile")
@job_argument
@settings
def reconcile(job_id: str) -> None:
    """Finish a submission that broke off: find the job at its provider and adopt it, else submit it; never twice."""
    job = attach(job_id)
    record = job.reconcile()
    _answer(record, job, f"{job.id} is {record.status}: {record.ref}")


@group.command("rm")
@click.argument("job_ids", metavar="JOB...", nargs=-1, required=True, shell_complete=complete_jobs)
@click.option("--yes", is_flag=True, help="Do not ask.")
@settings
def rm(job_ids: tuple[str, ...], yes: bool) -> None:
    """Forget finished jobs: record and local files, also their models. What a vendor keeps, stays."""
    jobs = [attach(job_id) for job_id in job_ids]
    if not yes and _out.interactive():
        names = ", ".join(job.id for job in jobs)
        click.confirm(f"Delete {names} and the files in their folders?", abort=True, err=True)
    for job in jobs:
        job.remove()
    _out.data([job.id for job in jobs], lambda: "\n".join(f"removed {job.id}" for job in jobs))
