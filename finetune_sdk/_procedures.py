"""The verbs of a job, written once, as generators; `job` runs them in a thread or on an event loop.

The order inside each is what survives a crash at any moment: the intent is stored, then the deed is done, then its
result is stored. Whoever comes next (another process too) finishes what was begun, and never submits twice.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from pydantic import TypeAdapter

from finetune_sdk._records import Intent, JobRecord
from finetune_sdk._steps import Call, Emit, Sleep, Steps
from finetune_sdk._submitter import alive
from finetune_sdk._transitions import observed
from finetune_sdk.errors import (
    Ambiguous,
    AuthFailed,
    BudgetExceeded,
    DataError,
    FineTuneError,
    JobFailed,
    Throttled,
    Unreachable,
    Unsupported,
    WaitTimeout,
    WrongStatus,
)
from finetune_sdk.provider import Plan, Provider
from finetune_sdk.registry import load
from finetune_sdk.spec import JobSpec
from finetune_sdk.store import JobStore
from finetune_sdk.types import Event, JobStatus

log = logging.getLogger(__name__)

GRACE_S = 60.0
"""How long a provider's list may lag behind: a job not found that long after its submission counts as unknown."""
SHORTEST_POLL_S, LONGEST_POLL_S = 0.5, 10.0


# --- before anything is sent ----------------------------------------------------------------------------------------


def plan(home: Path, spec: JobSpec) -> Steps[Plan]:
    """The dry run. Creates nothing, not even the home."""
    provider = yield from Call(partial(load, spec.provider, home=home))
    yield from Call(partial(provider.check, spec))
    return (yield from Call(partial(provider.plan, spec)))


def submit(home: Path, spec: JobSpec) -> Steps[str]:
    """The id of a new job. Raises before anything is stored when the spec, the data or the budget forbid it."""
    store = yield from Call(partial(JobStore, home))
    planned = yield from plan(home, spec)
    refuse(spec, planned)
    provider = yield from Call(partial(load, spec.provider, home=home))
    job = yield from Call(partial(store.create, spec, planned))
    try:
        # One call, not to be abandoned: between the provider's answer and its being stored nothing may come in.
        yield from Call(partial(_submit_and_bind, store, provider, planned, job.id), abandon=False)
    except Ambiguous as exc:
        yield from _adopt_or_doubt(store, provider, job, exc)
    except FineTuneError as exc:
        yield from Call(partial(store.end, job.id, JobStatus.FAILED, str(exc)))
        raise
    return job.id


def refuse(spec: JobSpec, planned: Plan) -> None:
    """Raise what forbids submission: `DataError` for data with errors, `BudgetExceeded`."""
    if planned.errors:
        shown = "\n".join(f"  {finding}" for finding in planned.errors[:10])
        count = "an error" if len(planned.errors) == 1 else f"{len(planned.errors)} errors"
        raise DataError(f"the data has {count}; nothing was sent:\n{shown}")
    limit, cost = spec.budget.max_cost_usd, planned.cost
    if limit is None:
        return
    if cost.usd is None:
        raise BudgetExceeded(
            f"the cost is unknown ({cost.basis}) and `budget.max_cost_usd` is {limit:g}: nothing was sent. "
            "Remove the budget to go on without a limit."
        )
    if cost.usd > limit:
        raise BudgetExceeded(
            f"the estimate of {cost.usd:.2f} USD ({cost.basis}) is above `budget.max_cost_usd` of {limit:g}: "
            "nothing was sent. Raise the budget, or train on less."
        )


def _submit_and_bind(store: JobStore, provider: Provider, planned: Plan, job_id: str) -> None:
    try:
        ref = provider.submit(planned, key=job_id)
    except FineTuneError:
        raise  # says itself whether anything was sent
    except BaseException as exc:  # a fault, or Ctrl-C: the request may have left
        store.doubt(job_id, _unknown_outcome(store.get(job_id), f"its submission broke off ({type(exc).__name__})"))
        raise
    job = store.bind(job_id, ref)
    if job.intent == "cancel" or job.status.terminal:  # cancelled by another process while we were submitting
        provider.cancel(ref)


def _adopt_or_doubt(store: JobStore, provider: Provider, job: JobRecord, cause: Ambiguous) -> Steps[None]:
    ref = yield from Call(partial(_find, provider, job.id), repeat=True)
    if ref is not None:
        yield from Call(partial(store.bind, job.id, ref))
        return
    text = _unknown_outcome(job, str(cause))
    yield from Call(partial(store.doubt, job.id, text))
    raise Ambiguous(text) from cause


def _unknown_outcome(job: JobRecord, cause: str) -> str:
    return (
        f"job {job.id}: unknown outcome: {cause.rstrip('.')}. It is not submitted again. "
        f"`finetune jobs show {job.id}` looks for it at {job.provider}; `finetune jobs reconcile {job.id}` finishes "
        f"it where that cannot start it twice; `finetune jobs cancel {job.id}` gives it up."
    )


def _find(provider: Provider, key: str) -> str | None:
    try:
        return provider.find(key)
    except Unsupported as exc:
        log.warning("%s", exc)
        return None


# --- looking --------------------------------------------------------------------------------------------------------


def refresh(home: Path, job_id: str) -> Steps[JobRecord]:
    """The record after asking the provider; finishes what a crash or an outage left half done."""
    store = yield from Call(partial(JobStore, home))
    job = yield from Call(partial(store.get, job_id))
    if job.status.terminal and job.intent is None:
        return job
    provider = yield from Call(partial(load, job.provider, home=home))
    if job.ref is None:
        job = yield from _reconcile(store, provider, job)
    if job.intent is not None and job.ref is not None:
        job = yield from _deliver(store, provider, job, job.ref, job.intent)
    if job.ref is None or job.status.terminal:
        return job
    state = yield from Call(partial(provider.poll, job.ref), repeat=True)
    cursor = yield from Call(partial(store.provider_cursor, job_id))
    events = yield from Call(partial(provider.events, job.ref, after=cursor), repeat=True)
    if not events and observed(job, state).job == job:
        return job
    return (yield from Call(partial(store.observe, job_id, state, events, attempt=job.attempt)))


def _reconcile(store: JobStore, provider: Provider, job: JobRecord) -> Steps[JobRecord]:
    """A job without a reference: is it at the provider? Adopt it, wait, or say that nobody knows."""
    ref = yield from Call(partial(_find, provider, job.id), repeat=True)
    if ref is not None:
        return (yield from Call(partial(store.bind, job.id, ref)))
    certain = _certain(provider)
    if alive(job.submitter) or (_age_s(job) < GRACE_S and not certain):
        return job
    if job.intent == "cancel":
        return (yield from Call(partial(store.end, job.id, JobStatus.CANCELLED, "given up before it was submitted")))
    if certain:
        return (yield from _finish(store, provider, job))
    if job.doubt is None:
        text = _unknown_outcome(job, f"its submission broke off, {job.provider} does not list it")
        return (yield from Call(partial(store.doubt, job.id, text)))
    return job


def _certain(provider: Provider) -> bool:
    """True when "not found" proves that nothing was started, and starting it again cannot start it twice."""
    claims = (provider.capabilities.claim(f"feature.{name}") for name in ("exact_find", "resubmit"))
    return all(claim.support for claim in claims)


def _finish(store: JobStore, provider: Provider, job: JobRecord) -> Steps[JobRecord]:
    """Finish a submission whose submitter died before it started anything; one of those who look does it."""
    if not (yield from Call(partial(store.take_over, job.id, of=job.submitter))):
        return (yield from Call(partial(store.get, job.id)))
    try:
        yield from _submit_again(store, provider, job)
    except Ambiguous:  # stored as a doubt
        return (yield from Call(partial(store.get, job.id)))
    except FineTuneError as exc:
        return (yield from Call(partial(store.end, job.id, JobStatus.FAILED, str(exc))))
    return (yield from Call(partial(store.get, job.id)))


def _submit_again(store: JobStore, provider: Provider, job: JobRecord) -> Steps[None]:
    planned = TypeAdapter(Plan).validate_python(job.plan)
    try:
        yield from Call(partial(_submit_and_bind, store, provider, planned, job.id), abandon=False)
    except Ambiguous as exc:
        yield from _adopt_or_doubt(store, provider, job, exc)


def reconcile(home: Path, job_id: str) -> Steps[JobRecord]:
    """Finish a submission that broke off: adopt what the provider has, else submit again where that is safe.

    Safe means: the provider claims `feature.resubmit`, its `submit` called twice with one key starts one job.
    """
    store = yield from Call(partial(JobStore, home))
    job = yield from Call(partial(store.get, job_id))
    if job.ref is not None or job.status.terminal:
        return (yield from refresh(home, job_id))
    if alive(job.submitter):
        raise WrongStatus(f"job {job.id} is being submitted by another process")
    provider = yield from Call(partial(load, job.provider, home=home))
    ref = yield from Call(partial(_find, provider, job.id), repeat=True)
    if ref is not None:
        yield from Call(partial(store.bind, job.id, ref))
        return (yield from refresh(home, job_id))
    if not provider.capabilities.claim("feature.resubmit").support:
        raise Unsupported(provider.name, "submitting a job again under its old key", "Cancel it and submit a new one.")
    if not (yield from Call(partial(store.take_over, job.id, of=job.submitter))):
        raise WrongStatus(f"job {job.id} is being submitted by another process")
    yield from _submit_again(store, provider, job)
    return (yield from refresh(home, job_id))


def _age_s(job: JobRecord) -> float:
    return (datetime.now(UTC) - job.created_at).total_seconds()


def _deliver(store: JobStore, provider: Provider, job: JobRecord, ref: str, intent: Intent) -> Steps[JobRecord]:
    """Tell the provider what the user asked for; every one of these verbs may be repeated."""
    deed = {"cancel": provider.cancel, "pause": provider.pause, "resume": provider.resume}[intent]
    try:
        yield from Call(partial(deed, ref), repeat=True)
    except (Throttled, Unreachable, AuthFailed):  # not an answer: whoever looks at the job next asks again
        raise
    except FineTuneError:
        if intent != "cancel":
            yield from Call(partial(store.withdraw, job.id, intent))
        raise
    if intent == "resume":
        return (yield from Call(partial(store.reopen, job.id)))
    return (yield from Call(partial(store.delivered, job.id, intent)))


def events(home: Path, job_id: str, after: str | None) -> Steps[Sequence[Event]]:
    """The events so far, those after a cursor only."""
    yield from refresh(home, job_id)
    store = yield from Call(partial(JobStore, home))
    return (yield from Call(partial(store.events, job_id, after=after)))


def follow(home: Path, job_id: str, after: str | None, poll_s: float | None) -> Steps[None]:
    """Emits the events as they come, until nothing more will come by itself."""
    store = yield from Call(partial(JobStore, home))
    pause_s = SHORTEST_POLL_S
    while True:
        job = yield from refresh(home, job_id)
        fresh = yield from Call(partial(store.events, job_id, after=after))
        for event in fresh:
            yield from Emit(event)
            after = event.cursor
        if at_rest(job):
            return
        pause_s = SHORTEST_POLL_S if fresh else longer(pause_s)
        yield from Sleep(pause_s if poll_s is None else poll_s)


def wait(home: Path, job_id: str, timeout_s: float | None, poll_s: float | None) -> Steps[JobRecord]:
    """The record of the job at rest: succeeded, or paused as asked. Raises `JobFailed`, `WaitTimeout`, `Ambiguous`."""
    start, pause_s, last = time.monotonic(), SHORTEST_POLL_S, None
    while True:
        job = yield from refresh(home, job_id)
        if at_rest(job):
            return _succeeded(job)
        if job.status is JobStatus.PAUSED and (last is None or last.status is not JobStatus.PAUSED):
            log.info("job %s: %s paused it by itself; waiting goes on", job_id, job.provider)
        left_s = float("inf") if timeout_s is None else timeout_s - (time.monotonic() - start)
        if left_s <= 0:
            raise WaitTimeout(job_id, timeout_s or 0.0)
        pause_s = SHORTEST_POLL_S if job != last else longer(pause_s)
        last = job
        yield from Sleep(min(pause_s if poll_s is None else poll_s, left_s))


def longer(pause_s: float) -> float:
    """The next pause of one who finds nothing new."""
    return min(pause_s * 1.5, LONGEST_POLL_S)


def at_rest(job: JobRecord) -> bool:
    """True when nothing will happen until somebody does something."""
    if job.doubt is not None and _age_s(job) >= GRACE_S:
        raise Ambiguous(job.doubt)
    return (job.status.terminal and job.intent is None) or (job.status is JobStatus.PAUSED and job.held)


def _succeeded(job: JobRecord) -> JobRecord:
    if job.status is JobStatus.FAILED:
        raise JobFailed(job.id, f"failed: {job.error}")
    if job.status is JobStatus.CANCELLED:
        raise JobFailed(job.id, "was cancelled")
    return job


# --- asking for something -------------------------------------------------------------------------------------------


def ask(home: Path, job_id: str, intent: Intent) -> Steps[JobRecord]:
    """Store the intent, then tell the provider. Raises `Unsupported` or `WrongStatus` before either."""
    store = yield from Call(partial(JobStore, home))
    job = yield from Call(partial(store.get, job_id))
    provider = yield from Call(partial(load, job.provider, home=home))
    if intent == "cancel" and job.status.terminal:
        return job
    _refuse_intent(provider, job, intent)
    yield from Call(partial(store.intend, job_id, intent))
    return (yield from refresh(home, job_id))


def _refuse_intent(provider: Provider, job: JobRecord, intent: Intent) -> None:
    claim = provider.capabilities.claim(f"feature.{intent}")
    if not claim.support:
        raise Unsupported(provider.name, f"to {intent} a job", claim.note or "Cancel it, or let it run.")
    if intent == "pause" and job.status.terminal:
        raise WrongStatus(f"job {job.id} is {job.status}: there is nothing to pause")
    if intent == "resume" and job.status not in (JobStatus.PAUSED, JobStatus.FAILED, JobStatus.CANCELLED):
        raise WrongStatus(f"job {job.id} is {job.status}: only a paused, failed or cancelled job can be resumed")
    if intent == "resume" and job.ref is None:
        raise WrongStatus(f"job {job.id} never reached {job.provider}: submit it again")
