"""Where a job may go from where it is: pure functions from record to record, each with what is worth an event."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

from finetune_sdk._records import Intent, JobRecord
from finetune_sdk.redact import redact
from finetune_sdk.types import JobState, JobStatus, Level

_RANKS = (
    (JobStatus.PREPARING,),
    (JobStatus.VALIDATING,),
    (JobStatus.QUEUED,),
    (JobStatus.RUNNING, JobStatus.PAUSED),  # the one pair that goes both ways
    (JobStatus.CANCELLING,),
    (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED),
)
_RANK = {status: rank for rank, group in enumerate(_RANKS) for status in group}


class Moved(NamedTuple):
    """A record after a change, and the notes that go into its event log."""

    job: JobRecord
    notes: tuple[tuple[Level, str], ...] = ()


def observed(job: JobRecord, state: JobState) -> Moved:
    """What the provider said, as far as it is news: a status never goes backwards, a terminal one is final."""
    if job.status.terminal:
        return Moved(job)
    raw = None if state.raw_status is None else redact(state.raw_status)
    metrics = {name: value for name, value in state.metrics.items() if math.isfinite(value)}  # JSON has no NaN
    seen = replace(job, raw_status=raw, usage=state.usage or job.usage, metrics=metrics or job.metrics)
    if not state.known:
        return Moved(seen, (("warning", f"{job.provider} says {raw!r}, a status unknown here; it stays {job.status}"),))
    if _RANK[state.status] < _RANK[job.status]:
        return _backwards(seen, state)
    error = redact(state.error or "the provider gave no reason") if state.status is JobStatus.FAILED else None
    held = _held(job, state)
    seen = replace(seen, status=state.status, model=state.model, error=error, held=held)
    if state.status is JobStatus.PAUSED and job.status is not JobStatus.PAUSED and not held:
        return Moved(seen, (("warning", _NOT_OURS.format(provider=job.provider, job=job.id)),))
    return Moved(replace(seen, intent=None) if state.status.terminal else seen)


def _backwards(seen: JobRecord, state: JobState) -> Moved:
    """A status before the one that is stored, which stays."""
    if seen.status is JobStatus.CANCELLING:  # "running" is what vendors say for a while after a cancel
        return Moved(seen)
    if seen.status is JobStatus.PAUSED and state.status is JobStatus.QUEUED:  # on its way back
        return Moved(replace(seen, held=False))
    return Moved(seen, (("warning", f"{seen.provider} says {state.status} after {seen.status}; it stays so"),))


_NOT_OURS = (
    "{provider} paused the job, nobody here asked for it: it goes on when {provider} lets it, and is waited for. "
    "If it does not: `finetune jobs resume {job}`"
)


def _held(job: JobRecord, state: JobState) -> bool:
    """Whether a pause is one to rest in: because we asked for it, or because nobody but a user can end it."""
    if state.status is JobStatus.PAUSED:
        return job.held or state.held
    return job.held and job.status is not JobStatus.PAUSED  # asked for and not yet there; once left, it is over


def intended(job: JobRecord, intent: Intent) -> Moved:
    """What the user asks for, where it makes sense; else nothing changes."""
    if intent == "resume":
        return Moved(replace(job, intent=intent) if job.status.terminal or job.status is JobStatus.PAUSED else job)
    if job.status.terminal or (intent == "pause" and (job.intent == "cancel" or job.status is JobStatus.CANCELLING)):
        return Moved(job)
    status = JobStatus.CANCELLING if intent == "cancel" and job.ref is not None else job.status
    return Moved(replace(job, intent=intent, status=status, held=job.held or intent == "pause"))


def withdrawn(job: JobRecord, intent: Intent) -> Moved:
    """The provider refused a pause or a resume: it is not asked again by itself."""
    if job.intent != intent:
        return Moved(job)
    return Moved(replace(job, intent=None, held=job.held and job.status is JobStatus.PAUSED))


def reopened(job: JobRecord) -> Moved:
    """A finished job as its next attempt; a paused one only loses its intent."""
    job = replace(job, intent=None, held=False)
    if not job.status.terminal:
        return Moved(job)
    attempt = job.attempt + 1
    again = replace(job, status=JobStatus.QUEUED, attempt=attempt, raw_status=None, error=None, model=None)
    return Moved(again, (("info", f"resumed: attempt {attempt}"),))


def ended(job: JobRecord, status: JobStatus, reason: str) -> Moved:
    """Our own verdict on a job that the provider never had."""
    return Moved(
        job if job.status.terminal else replace(job, status=status, error=redact(reason), intent=None, doubt=None)
    )


def doubted(job: JobRecord, text: str) -> Moved:
    """Nobody knows whether the provider has the job."""
    if job.ref is not None or job.status.terminal:
        return Moved(job)
    return Moved(replace(job, doubt=redact(text), submitter=None), (("warning", text),))
