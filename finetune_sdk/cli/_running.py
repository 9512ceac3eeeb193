"""The parts of `run`: submit, watch, what to do on Ctrl-C, what to show at the end."""

from __future__ import annotations

import logging
import signal
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from finetune_sdk._procedures import refuse
from finetune_sdk._records import JobRecord
from finetune_sdk.cli import _out
from finetune_sdk.cli._app import Terminated
from finetune_sdk.cli._show import artifacts_text, duration, evaluation_text, plan_text, record_json
from finetune_sdk.cli._watch import Display, Lines, Live, rounds
from finetune_sdk.errors import DataError, JobFailed, ProviderError, WaitTimeout, WrongStatus
from finetune_sdk.evaluate import Evaluated
from finetune_sdk.job import FineTuneJob
from finetune_sdk.registry import load
from finetune_sdk.spec import JobSpec
from finetune_sdk.types import JobStatus

_QUIET_S = 3.0  # without a terminal: how often training says how far it is


def submit(spec: JobSpec, *, home: str | None, ask: bool) -> FineTuneJob:
    """Show the plan, refuse or ask, submit. Raises what `FineTuneJob.submit` raises, and `click.Abort` on "no"."""
    planned = FineTuneJob.plan(spec, home=home)
    _out.say(plan_text(spec, planned, request=False))
    refuse(spec, planned)
    if ask and planned.cost.usd != 0:
        about = "The cost is unknown" if planned.cost.usd is None else f"This costs about {planned.cost.usd:.2f} USD"
        click.confirm(f"{about}. Submit it?", abort=True, err=True)
    try:
        with _worker_talk():
            return FineTuneJob.submit(spec, home=home)
    except KeyboardInterrupt:
        _out.say(f"\ninterrupted while submitting; whether the job is there shows  {_out.hint('jobs', 'ls')}")
        raise


@contextmanager
def _worker_talk() -> Generator[None]:
    """While an environment is being built, its builder's lines are told: it takes minutes."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("  %(message)s"))
    log = logging.getLogger("finetune_sdk.worker")
    before = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)


def told_submitted(job: FineTuneJob) -> None:
    """From here on the job lives without us."""
    _out.say(f"\nsubmitted {click.style(job.id, bold=True)}")


def told_detached(job: FineTuneJob) -> None:
    """The job goes on without us: say how to get back to it, answer with it."""
    _out.say(f"it goes on. Follow it:  {_out.hint('jobs', 'follow', job.id)}")
    _out.say(f"              Stop it:    {_out.hint('jobs', 'cancel', job.id)}")
    _out.data(record_json(job.record, job.home), lambda: job.id)


def watch_to_the_end(job: FineTuneJob, *, timeout_s: float | None) -> None:
    """Watch a job and show what it brought. Raises `JobFailed`, `WaitTimeout`; ends with 130 when told to detach."""
    deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
    display: Display | None = None
    after: str | None = None
    while True:
        try:
            if display is None:
                told_submitted(job)  # not before the `try`: whoever reads it may interrupt us
                display = _display(job)
            with display:
                for record, events in rounds(job, after=after, deadline_s=deadline_s):
                    after = events[-1].cursor if events else after
                    display.show(record, events)
            return ended(job)
        except WaitTimeout:
            told_detached(job)
            raise
        except KeyboardInterrupt as stop:
            if not _goes_on(job, stop):
                raise click.exceptions.Exit(130) from None


def _display(job: FineTuneJob) -> Display:
    return Live(job.id) if _out.interactive() else Lines(every_s=_QUIET_S)


def _goes_on(job: FineTuneJob, stop: KeyboardInterrupt) -> bool:
    """Ask what an interruption means; False = leave the job to itself and go."""
    asked = "d" if isinstance(stop, Terminated) or not _out.interactive() else _question(job)
    if asked == "c":
        job.cancel()
        _out.say("asked it to stop; its checkpoints stay")
    if asked == "d":
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # we are leaving; one more must not tear the farewell
        told_detached(job)
    return asked != "d"


def _question(job: FineTuneJob) -> str:
    """d, c or g. A second Ctrl-C, or the end of input, is d."""
    _out.say(f"\njob {job.id} is {job.status}. What now?")
    _out.say("  d  detach: the job goes on, you get your prompt back")
    _out.say("  c  cancel: stop the job")
    _out.say("  g  go on watching")
    try:
        answer = click.prompt(
            "d/c/g", type=click.Choice(["d", "c", "g"], case_sensitive=False), default="d", show_choices=False, err=True
        )
    except (click.Abort, KeyboardInterrupt):
        _out.say()
        return "d"
    return str(answer)


def ended(job: FineTuneJob) -> None:
    """Show a job at rest. Raises `JobFailed` with the way on."""
    record = job.record
    if record.status is JobStatus.PAUSED:
        _out.say(f"paused. Continue it:  {_out.hint('jobs', 'resume', job.id)}")
        _out.data(record_json(record, job.home), lambda: job.id)
        return
    if record.status is not JobStatus.SUCCEEDED:
        if _out.speaks_json():  # a program reads what became of it; the reason follows as an error
            _out.data(_answer(job, record, evaluation=None, report=None), str)
        raise _failure(job, record)
    evaluation, artifacts = _evaluation(job, record), job.artifacts()
    report = _report(job, evaluation)
    answer = _answer(job, record, evaluation=evaluation, report=report)
    _out.data(answer, lambda: _success_text(record, evaluation, artifacts_text(artifacts), report))


def _answer(
    job: FineTuneJob, record: JobRecord, *, evaluation: Evaluated | None, report: Path | None
) -> dict[str, Any]:
    return {
        "job": record_json(record, job.home),
        "evaluation": None if evaluation is None else evaluation.json(),
        "artifacts": job.artifacts() if record.ref is not None else [],
        "report": None if report is None else str(report),
    }


def _failure(job: FineTuneJob, record: JobRecord) -> JobFailed:
    log = job.folder / "worker.log"
    if log.exists():
        _out.say(f"log:        {_out.short_path(log)}")
    capabilities = load(record.provider, home=job.home).capabilities
    if capabilities.claim("feature.resume").support and record.ref is not None:
        _out.say(f"resume it:  {_out.hint('jobs', 'resume', job.id)}")
    if record.status is JobStatus.CANCELLED:
        return JobFailed(job.id, "was cancelled")
    return JobFailed(job.id, f"failed: {record.error}")


def _evaluation(job: FineTuneJob, record: JobRecord) -> Evaluated | None:
    """The scores; the model is there either way, so what stands in their way is told and no more."""
    if record.job_spec.evaluation is None:
        return None
    try:
        return job.evaluation()
    except (DataError, WrongStatus, ProviderError) as error:
        _out.say(f"{click.style('warning:', fg='yellow')} no evaluation: {error}")
        return None


def _report(job: FineTuneJob, evaluation: Evaluated | None) -> Path | None:
    from finetune_sdk.cli.report import write  # noqa: PLC0415

    try:
        return write(job, evaluation, job.folder / "report.html")
    except OSError as error:
        _out.say(f"{click.style('warning:', fg='yellow')} no report: {error}")
        return None


def _success_text(record: JobRecord, evaluation: Evaluated | None, artifacts: str, report: Path | None) -> str:
    took = f", trained in {duration(record.usage.train_s)}" if record.usage and record.usage.train_s is not None else ""
    parts = [click.style(f"{record.id} succeeded{took}", fg="green", bold=True) + f"  {record.model}"]
    if evaluation is not None:
        parts += ["", evaluation_text(evaluation)]
    if artifacts:
        parts += ["", click.style("artifacts", bold=True), artifacts]
    if report is not None:
        parts += ["", f"report: {_out.short_path(report)}"]
    return "\n".join(parts)
