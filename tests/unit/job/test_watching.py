"""Watching many jobs in one loop, over the fake provider."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from fakes import fake_spec, write_rows

from finetune_sdk import AsyncFineTuneJob, FineTuneJob, JobState, JobStatus, _watching
from finetune_sdk.errors import AuthFailed, JobNotFound, Throttled, Unreachable
from finetune_sdk.registry import standing_in
from finetune_sdk.store import JobStore
from finetune_sdk.testing.fake import FakeProvider

FAST_S = 0.001
HELD = ["queued", "running"]
SHORT = ["queued", "running", "succeeded"]


def submit(home: Path, **options: Any) -> str:
    return FineTuneJob.submit(fake_spec(write_rows(home.parent / "data"), **options), home=home).id


def watched(home: Path, jobs: Sequence[str] | None = None) -> list[tuple[str, str]]:
    return [(job.id, str(job.status)) for job in FineTuneJob.watch_all(jobs, home=home, poll_s=FAST_S)]


def requests(home: Path, name: str) -> int:
    return FakeProvider(home=home).vendor.requests().count(name)


class Counting(FakeProvider):
    """Counts how many poll at the same time; the first waits for a second one."""

    lock = threading.Lock()
    two = threading.Event()
    now = 0
    most = 0

    def poll(self, ref: str) -> JobState:
        with self.lock:
            Counting.now += 1
            Counting.most = max(self.most, self.now)
        if self.now > 1:
            self.two.set()
        self.two.wait(60)
        try:
            return super().poll(ref)
        finally:
            with self.lock:
                Counting.now -= 1


class Listing(FakeProvider):
    """Tells of many jobs at once, but for those that have ended."""

    lists = 0

    def poll_many(self, refs: Sequence[str]) -> Mapping[str, JobState]:
        Listing.lists += 1
        words = {job["id"]: job["script"][job["at"]] for job in self.vendor.jobs()}
        return {
            ref: JobState(status=JobStatus.RUNNING, raw_status="running") for ref in refs if words[ref] == "running"
        }


class Busy(FakeProvider):
    """Says no to the first request of each round, then works."""

    refusals: list[Throttled | Unreachable]
    asked_s: list[float]

    def poll(self, ref: str) -> JobState:
        self.asked_s.append(time.monotonic())
        if self.refusals:
            raise self.refusals.pop(0)
        return super().poll(ref)


def test_every_change_of_every_job_is_told_until_all_rest(home: Path) -> None:
    jobs = [submit(home, script=SHORT), submit(home, script=["queued", "failed"])]
    told = watched(home)
    assert sorted(set(told)) == sorted(
        [
            *((jobs[0], word) for word in ("preparing", "running", "succeeded")),
            *((jobs[1], word) for word in ("preparing", "failed")),
        ]
    )


def test_only_the_given_jobs_are_watched(home: Path) -> None:
    wanted, _ = submit(home, script=SHORT), submit(home, script=HELD)
    assert {job for job, _ in watched(home, [wanted])} == {wanted}


def test_what_changed_is_stored_with_its_events(home: Path) -> None:
    job = submit(home, script=SHORT)
    watched(home)
    messages = [event.message for event in JobStore(home).events(job)]
    assert (JobStore(home).get(job).status, messages[-1]) == (JobStatus.SUCCEEDED, "succeeded")


def test_a_home_without_unfinished_jobs_ends_the_watch_at_once(home: Path) -> None:
    assert watched(home) == []


def test_a_paused_job_is_at_rest(home: Path) -> None:
    job = submit(home, script=["queued", "paused"])
    assert watched(home)[-1] == (job, "paused")


def test_a_pause_of_the_vendors_own_is_watched_through(home: Path) -> None:
    job = submit(home, script=["queued", "running", "paused", "running", "succeeded"])
    assert [status for name, status in watched(home) if name == job][-3:] == ["paused", "running", "succeeded"]


def test_a_job_cancelled_by_another_process_ends_its_watch(home: Path) -> None:
    job = submit(home, script=HELD)
    told: list[str] = []
    for record in FineTuneJob.watch_all([job], home=home, poll_s=FAST_S):
        told.append(str(record.status))
        if record.status is JobStatus.RUNNING:
            JobStore(home).intend(job, "cancel")
    assert told[-1] == "cancelled"


def test_requests_at_the_same_time_are_few(home: Path) -> None:
    Counting.most, Counting.two = 0, threading.Event()
    for _ in range(3 * _watching.AT_ONCE):
        submit(home, script=["queued", "succeeded"])
    with standing_in("fake", lambda home: Counting(home=home)):
        watched(home)
    assert 1 < Counting.most <= _watching.AT_ONCE


def test_what_a_list_tells_is_not_asked_about_one_by_one(home: Path) -> None:
    provider = FakeProvider(home=home)
    jobs = [submit(home, script=["running", "succeeded"]) for _ in range(5)]
    before, Listing.lists = requests(home, "retrieve"), 0
    with standing_in("fake", lambda home: Listing(home=home)):
        seen = FineTuneJob.watch_all(jobs, home=home, poll_s=FAST_S)
        told = [next(seen) for _ in range(10)]
    assert [record.status for record in told[5:]] == [JobStatus.RUNNING] * 5
    assert (Listing.lists, provider.vendor.requests().count("retrieve")) == (1, before)


def test_a_throttled_provider_is_left_in_peace_as_a_whole(home: Path) -> None:
    jobs = [submit(home, script=["queued", "succeeded"]) for _ in range(3 * _watching.AT_ONCE)]
    Busy.refusals, Busy.asked_s = [Throttled("slow down", retry_after_s=0.1)], []
    with standing_in("fake", lambda home: Busy(home=home)):
        told = watched(home)
    first = [at for at in Busy.asked_s if at - Busy.asked_s[0] < 0.09]
    assert len(first) <= _watching.AT_ONCE
    assert {job for job, status in told if status == "succeeded"} == set(jobs)


def test_answers_that_came_before_the_throttling_are_kept(home: Path) -> None:
    refs = [JobStore(home).get(submit(home, script=HELD)).ref or "" for _ in range(4)]
    Busy.refusals, Busy.asked_s = [Throttled("slow down", retry_after_s=30)], []
    answers = _watching.look(Busy(home=home), refs)
    assert (len(answers.states), isinstance(answers.busy, Throttled)) == (3, True)


def test_an_outage_is_waited_out(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def at_once(_low: float, _high: float) -> float:
        return 0.001

    monkeypatch.setattr(random, "uniform", at_once)
    submit(home, script=["queued", "succeeded"])
    Busy.refusals, Busy.asked_s = [Unreachable("no answer")] * 2, []
    with standing_in("fake", lambda home: Busy(home=home)):
        assert watched(home)[-1][1] == "succeeded"


def test_an_outage_without_end_is_given_up(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_watching, "_GIVE_UP_S", 0.0)
    submit(home, script=HELD)
    Busy.refusals, Busy.asked_s = [Unreachable("no answer")] * 9, []
    with standing_in("fake", lambda home: Busy(home=home)), pytest.raises(Unreachable):
        watched(home)


def test_a_job_that_is_gone_is_told_at_the_end_and_the_others_are_watched_on(home: Path) -> None:
    gone, other = submit(home, script=HELD), submit(home, script=SHORT)
    ref = JobStore(home).get(gone).ref
    (home / "fake-vendor" / "jobs" / f"{ref}.json").unlink()
    with pytest.raises(JobNotFound):
        watched(home)
    assert JobStore(home).get(other).status is JobStatus.SUCCEEDED


def test_a_refused_key_ends_the_watch_with_its_error(home: Path) -> None:
    submit(home, script=HELD)
    FakeProvider(home=home).vendor.fail_next("auth")
    with pytest.raises(AuthFailed):
        watched(home)


def test_the_async_door_watches_too(home: Path) -> None:
    async def whole() -> list[str]:
        return [str(job.status) async for job in AsyncFineTuneJob.watch_all(home=home, poll_s=FAST_S)]

    submit(home, script=SHORT)
    assert asyncio.run(whole())[-1] == "succeeded"
