"""Watching many jobs at once, as a procedure: one loop for all, the providers asked in bulk where they can answer so.

A provider that throttles, or cannot be reached, is left in peace as a whole: none of its jobs is asked about before the
pause is over. Its other states, those that came before it, are kept.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from finetune_sdk._procedures import LONGEST_POLL_S, SHORTEST_POLL_S, at_rest, longer, refresh
from finetune_sdk._records import JobRecord
from finetune_sdk._steps import Call, Emit, Sleep, Steps
from finetune_sdk._transitions import observed
from finetune_sdk.errors import Ambiguous, FineTuneError, JobNotFound, Throttled, Unreachable
from finetune_sdk.provider import Provider
from finetune_sdk.registry import load
from finetune_sdk.store import JobStore
from finetune_sdk.types import JobState

log = logging.getLogger(__name__)

AT_ONCE = 8
"""Requests under way at the same time, where jobs must be asked about one by one."""
_LONGEST_REST_S, _GIVE_UP_S = 60.0, 300.0


@dataclass(slots=True)
class Answers:
    """What one look at a provider's jobs brought."""

    states: dict[str, JobState] = field(default_factory=dict[str, JobState])
    gone: dict[str, FineTuneError] = field(default_factory=dict[str, FineTuneError])
    """References that the provider does not know any more, or will not answer about."""
    busy: Throttled | Unreachable | None = None
    """Why the look broke off; what is missing then was not asked about."""


@dataclass(slots=True)
class _Line:
    """One provider: when it may be asked again."""

    due_s: float = 0.0
    pause_s: float = SHORTEST_POLL_S
    failing_since_s: float | None = None
    asked: dict[str, float] = field(default_factory=dict[str, float])
    """When each job was last answered for; who waited longest comes first."""

    def rest(self, changed: bool, poll_s: float | None) -> None:
        """After answers: soon again while things change, later the longer nothing does."""
        self.failing_since_s = None
        self.pause_s = SHORTEST_POLL_S if changed else longer(min(self.pause_s, LONGEST_POLL_S))
        self.due_s = time.monotonic() + (_jittered(self.pause_s) if poll_s is None else poll_s)

    def back_off(self, busy: Throttled | Unreachable) -> bool:
        """After a refusal to answer; False = that has been going on for too long."""
        now = time.monotonic()
        self.failing_since_s = now if self.failing_since_s is None else self.failing_since_s
        self.pause_s = min(self.pause_s * 2, _LONGEST_REST_S)
        wish = busy.retry_after_s if isinstance(busy, Throttled) else None
        self.due_s = now + (_jittered(self.pause_s) if wish is None else wish * (1 + random.random() / 10))  # noqa: S311
        return now - self.failing_since_s < _GIVE_UP_S


def _jittered(seconds: float) -> float:
    """So that many watchers do not ask in step."""
    return seconds * random.uniform(0.8, 1.2)  # noqa: S311 - no secret


def watch(home: Path, job_ids: Sequence[str] | None, poll_s: float | None) -> Steps[None]:
    """Emit the record of each job, and again whenever it changed, until none of them will change by itself.

    None = every unfinished job of the home. A job that cannot be watched to its rest is warned about and let go; the
    first such error is raised at the end.
    """
    store = yield from Call(partial(JobStore, home))
    watch = _Watch(store, poll_s)
    unfinished = yield from Call(store.unfinished)
    watch.left = dict.fromkeys([job.id for job in unfinished] if job_ids is None else job_ids)
    yield from watch.see((yield from Call(watch.records)))
    while watch.left:
        due = [line for line in watch.lines.values() if line.due_s <= time.monotonic()]
        if not due:
            yield from Sleep(max(0.0, min(line.due_s for line in watch.lines.values()) - time.monotonic()))
            continue
        yield from watch.round((yield from Call(watch.records)))
    if watch.errors:
        raise watch.errors[0]


@dataclass(slots=True)
class _Watch:
    store: JobStore
    poll_s: float | None
    left: dict[str, None] = field(default_factory=dict[str, None])
    seen: dict[str, JobRecord] = field(default_factory=dict[str, JobRecord])
    lines: dict[str, _Line] = field(default_factory=dict[str, _Line])
    errors: list[FineTuneError] = field(default_factory=list[FineTuneError])

    def records(self) -> list[JobRecord]:
        """The watched jobs as they are stored: another process may have changed them."""
        found = {job.id: job for job in self.store.unfinished()}
        for job_id in [job_id for job_id in self.left if job_id not in found]:
            try:
                found[job_id] = self.store.get(job_id)
            except JobNotFound as exc:
                self._let_go(job_id, exc)
        return [found[job_id] for job_id in self.left]

    def see(self, records: Sequence[JobRecord]) -> Steps[bool]:
        """Emit what is new; let go of what is at rest. True when anything was new."""
        changed = [job for job in records if self.seen.get(job.id) != job]
        for job in records:
            self.seen[job.id] = job
            self.lines.setdefault(job.provider, _Line())
            try:
                if at_rest(job):
                    self.left.pop(job.id, None)
            except Ambiguous as exc:
                self._let_go(job.id, exc)
        providers = {self.seen[job_id].provider for job_id in self.left}
        self.lines = {name: line for name, line in self.lines.items() if name in providers}
        for job in changed:
            yield from Emit(job)
        return bool(changed)

    def round(self, records: Sequence[JobRecord]) -> Steps[None]:
        """Ask every provider that is due about its jobs."""
        yield from self.see(records)
        for name, line in [*self.lines.items()]:
            jobs = [job for job in records if job.provider == name and job.id in self.left]
            if line.due_s <= time.monotonic() and jobs:
                yield from self._ask(name, line, jobs)

    def _ask(self, name: str, line: _Line, jobs: Sequence[JobRecord]) -> Steps[None]:
        try:
            provider = yield from Call(partial(load, name, home=self.store.home))
            refs = {job.ref: job for job in jobs if job.ref is not None and job.intent is None}
            wanted = sorted(refs, key=lambda ref: line.asked.get(ref, 0.0))
            answers = yield from Call(partial(look, provider, wanted))
            fresh: list[JobRecord] = []
            for job in jobs:
                if job.ref is None or job.intent is not None:
                    fresh.append((yield from self._unsettled(job)))  # noqa: PERF401 - comprehensions cannot yield
        except FineTuneError as exc:  # no key, say: none of this provider's jobs can be asked about
            for job in jobs:
                self._let_go(job.id, exc)
            return
        line.asked |= dict.fromkeys([*answers.states, *answers.gone], time.monotonic())
        for ref, state in answers.states.items():
            fresh.append((yield from self._store(provider, refs[ref], state)))
        for ref, error in answers.gone.items():
            self._let_go(refs[ref].id, error)
        changed = yield from self.see([job for job in fresh if job.id in self.left])
        if answers.busy is None:
            line.rest(changed, self.poll_s)
        elif not line.back_off(answers.busy):
            for job in jobs:
                self._let_go(job.id, answers.busy)

    def _unsettled(self, job: JobRecord) -> Steps[JobRecord]:
        """A job not yet accepted, or whose user asked for something: what `refresh` is for."""
        try:
            return (yield from refresh(self.store.home, job.id))
        except FineTuneError as exc:
            self._let_go(job.id, exc)
            return job

    def _store(self, provider: Provider, job: JobRecord, state: JobState) -> Steps[JobRecord]:
        """Store a state that says something new, with the events up to it."""
        if observed(job, state).job == job:
            return job
        assert job.ref is not None, "it was asked about"  # noqa: S101
        cursor = yield from Call(partial(self.store.provider_cursor, job.id))
        try:
            events = yield from Call(partial(provider.events, job.ref, after=cursor), repeat=True)
        except (Throttled, Unreachable, JobNotFound) as exc:
            log.warning("job %s: its events could not be read: %s", job.id, exc)
            events = []
        return (yield from Call(partial(self.store.observe, job.id, state, events, attempt=job.attempt)))

    def _let_go(self, job_id: str, error: FineTuneError) -> None:
        if self.left.pop(job_id, "gone") is None:
            log.warning("job %s is no longer watched: %s", job_id, error)
            self.errors.append(error)


def look(provider: Provider, refs: Sequence[str]) -> Answers:
    """The states of many jobs: first in bulk, then one by one what that left out, a few at a time."""
    answers = Answers()
    if not refs:
        return answers
    try:
        answers.states.update(_only(provider.poll_many(refs), refs))
    except (Throttled, Unreachable) as exc:
        return replace(answers, busy=exc)
    left = [ref for ref in refs if ref not in answers.states]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for start in range(0, len(left), AT_ONCE):
            asked = {ref: pool.submit(provider.poll, ref) for ref in left[start : start + AT_ONCE]}
            for ref, answer in asked.items():
                _take(answers, ref, answer)
            if answers.busy is not None:
                break
    return answers


def _take(answers: Answers, ref: str, answer: Future[JobState]) -> None:
    try:
        answers.states[ref] = answer.result()
    except (Throttled, Unreachable) as exc:
        answers.busy = exc
    except FineTuneError as exc:
        answers.gone[ref] = exc


def _only(states: Mapping[str, JobState], refs: Sequence[str]) -> dict[str, JobState]:
    return {ref: states[ref] for ref in refs if ref in states}
