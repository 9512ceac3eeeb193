"""The jobs of a comparison: each an ordinary durable one, submitted once, found again after a kill."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from finetune_sdk import registry
from finetune_sdk._records import JobRecord
from finetune_sdk.compare.budget import Budget
from finetune_sdk.compare.state import Folder, Standing
from finetune_sdk.compare.work import Stopped
from finetune_sdk.errors import BudgetExceeded, JobFailed, JobNotFound, WaitTimeout
from finetune_sdk.job import FineTuneJob
from finetune_sdk.provider import Plan
from finetune_sdk.spec import JobSpec
from finetune_sdk.store import JobStore
from finetune_sdk.types import JobStatus

_STOPPING_S = 300.0  # a cancelled job is waited for this long: it writes its checkpoint first
_LOOK_S = 5.0  # how often a waiting run looks at the budget, and whether it is to end


def planned(spec: JobSpec, home: Path) -> Plan:
    """The dry run. Raises what `FineTuneJob.plan` raises."""
    return FineTuneJob.plan(spec, home=home)


def trained(
    folder: Folder,
    name: str,
    spec: JobSpec,
    *,
    home: Path,
    budget: Budget,
    usd_per_hour: float | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> FineTuneJob:
    """The candidate's job, succeeded: found, or submitted now and waited for.

    `usd_per_hour`: what the machine costs that it trains on; its hours count as spent while they pass.
    Raises `BudgetExceeded` before anything is sent when it may not be afforded, and once the time or the money is over:
    the job is cancelled then. `JobFailed` when it failed. `Stopped` when `stop` says so; the job goes on by itself.
    """
    standing = folder.standing(name)
    job = _found(standing, spec, home)
    since_s = 0.0 if job is None or job.refresh().status.terminal else _age_s(job)
    with budget.by_the_hour(name, usd_per_hour, what="machine", since_s=since_s):
        job = job or _submitted(folder, name, spec, home=home, budget=budget)
        standing = folder.standing(name)
        standing.job_id, standing.stage = job.id, "training"
        folder.save(name, standing)
        record = _waited(name, job, budget, stop)
    standing = folder.standing(name)
    standing.model = record.model
    if record.usage is not None:
        standing.train_s = record.usage.train_s
        standing.peak_memory_bytes = record.usage.peak_memory_bytes
    folder.save(name, standing)
    return job


def _age_s(job: FineTuneJob) -> float:
    return (datetime.now(UTC) - job.record.created_at).total_seconds()


def _waited(name: str, job: FineTuneJob, budget: Budget, stop: Callable[[], bool]) -> JobRecord:
    """The job at its end. Raises `BudgetExceeded` when the comparison's time is over first; the job is stopped."""
    if not budget.out_of_time:
        _resumed(job)
    while True:
        left_s = budget.left_s
        last = left_s is not None and left_s <= _LOOK_S
        try:
            return job.wait(timeout_s=max(0.0, left_s) if last and left_s is not None else _LOOK_S)
        except WaitTimeout:
            if stop():
                raise Stopped from None
            budget.keep()
            if last:
                job.cancel()
                break
        except JobFailed:
            if not budget.out_of_time or job.record.status is not JobStatus.CANCELLED:
                raise
            break
    over = f"training of {name} was stopped: {budget.over_text}; job {job.id}"
    try:
        return job.wait(timeout_s=_STOPPING_S)  # it may have ended by itself in the meantime
    except JobFailed as error:
        raise BudgetExceeded(f"{over} is {job.record.status}") from error
    except WaitTimeout as error:
        raise BudgetExceeded(f"{over} was told to stop, and has not yet: `finetune jobs show {job.id}`") from error


def _resumed(job: FineTuneJob) -> None:
    """A job that was interrupted goes on from its checkpoint where its provider can do that."""
    record = job.refresh()
    can = bool(registry.load(record.provider, home=job.home).capabilities.claim("feature.resume").support)
    if record.status in (JobStatus.PAUSED, JobStatus.CANCELLED) and can and record.ref is not None:
        job.resume()


def _found(standing: Standing, spec: JobSpec, home: Path) -> FineTuneJob | None:
    """The job of a run before this one, also of one that was killed between submitting and writing it down."""
    if standing.job_id is not None:
        try:
            return FineTuneJob.attach(standing.job_id, home=home)
        except JobNotFound:
            return None
    return next(_same(spec, home), None)


def _same(spec: JobSpec, home: Path) -> Iterator[FineTuneJob]:
    for record in JobStore(home).jobs():
        if record.spec_sha256 == spec.sha256 and record.status is not JobStatus.FAILED:
            yield FineTuneJob.attach(record.id, home=home)


def _submitted(folder: Folder, name: str, spec: JobSpec, *, home: Path, budget: Budget) -> FineTuneJob:
    plan = planned(spec, home)
    with budget.reserved(name, plan.cost.usd, what="training"):
        standing = folder.standing(name)
        standing.train_cost_usd = plan.cost.usd
        standing.stage = "training"
        folder.save(name, standing)
        return FineTuneJob.submit(spec, home=home)
