"""A submitter killed by SIGKILL, at chosen points and at random ones, loses no job and pays for none twice."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
from fakes import fake_spec, write_rows

from finetune_sdk import FineTuneJob, JobSpec, JobStatus, _procedures
from finetune_sdk.provider import YES, Capabilities
from finetune_sdk.registry import standing_in
from finetune_sdk.store import JobStore
from finetune_sdk.testing._vendor import KILL_AT
from finetune_sdk.testing.fake import FakeProvider

FORK = multiprocessing.get_context("fork")
KILLED = -signal.SIGKILL


@pytest.fixture
def spec(tmp_path: Path) -> JobSpec:
    return fake_spec(write_rows(tmp_path / "data"), script=["queued", "running"])


def _submit_and_follow(home: Path, spec: JobSpec, kill_at: str) -> None:
    os.environ[KILL_AT] = kill_at
    for _ in FineTuneJob.submit(spec, home=home).follow(poll_s=0.001):
        pass


def _killed_at(point: str, home: Path, spec: JobSpec) -> FineTuneJob:
    """The job of a submitter that was killed when it reached that point."""
    submitter = FORK.Process(target=_submit_and_follow, args=(home, spec, point))
    submitter.start()
    submitter.join(timeout=240)
    assert submitter.exitcode == KILLED
    [job] = FineTuneJob.list(home=home)
    return job


def test_killed_before_the_request_the_job_is_known_and_nothing_was_sent(
    home: Path, spec: JobSpec, fake: FakeProvider
) -> None:
    job = _killed_at("create:before", home, spec)

    assert (job.refresh().status, fake.vendor.jobs()) == (JobStatus.PREPARING, [])


def test_killed_before_the_request_the_outcome_is_unknown_after_a_while(
    home: Path, spec: JobSpec, fake: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_procedures, "GRACE_S", 0.0)
    job = _killed_at("create:before", home, spec)

    assert "unknown outcome" in (job.refresh().doubt or "")
    assert fake.vendor.jobs() == []


def test_killed_between_answer_and_storing_it_the_job_is_adopted(home: Path, spec: JobSpec, fake: FakeProvider) -> None:
    job = _killed_at("create:after", home, spec)

    assert job.record.ref is None
    assert job.refresh().ref == fake.vendor.jobs()[0]["id"]
    assert len(fake.vendor.jobs()) == 1


def test_killed_while_following_another_process_goes_on_from_the_last_cursor_and_cancels(
    home: Path, spec: JobSpec, fake: FakeProvider
) -> None:
    job = _killed_at("retrieve", home, spec)
    first = next(iter(job.follow(poll_s=0.001)))
    job.cancel()

    assert [event.message for event in job.follow(after=first.cursor, poll_s=0.001)][-1] == "cancelled"
    assert len(fake.vendor.jobs()) == 1


@pytest.mark.parametrize("milestone", ["jobs.db", "jobs/*/job.json", "fake-vendor/lock", "fake-vendor/jobs/*.json"])
@pytest.mark.parametrize("seed", range(3))
def test_killed_shortly_after_a_milestone_every_paid_job_is_known_and_adopted(
    home: Path, spec: JobSpec, fake: FakeProvider, milestone: str, seed: int
) -> None:
    submitter = FORK.Process(target=_submit_and_follow, args=(home, spec, "nowhere"))
    submitter.start()
    while not list(home.glob(milestone)):
        time.sleep(0.0002)
    time.sleep(random.Random(seed).uniform(0.0, 0.01))
    os.kill(submitter.pid or 0, signal.SIGKILL)
    submitter.join()

    for job in FineTuneJob.list(home=home):
        job.refresh()
    known = {record.ref for record in JobStore(home).jobs()} - {None}
    paid = [job["id"] for job in fake.vendor.jobs()]
    assert (known, len(paid) <= 1) == (set(paid), True)


class _Local(FakeProvider):
    """As sure of itself as a provider on this machine: not found means never started."""

    capabilities: ClassVar[Capabilities] = replace(
        FakeProvider.capabilities,
        claims={**FakeProvider.capabilities.claims, "feature.exact_find": YES, "feature.resubmit": YES},
    )


@pytest.fixture
def broken_off(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FineTuneJob]:
    """A job whose submitter died between its intent and its deed."""
    spec = fake_spec(write_rows(tmp_path / "data"))
    with standing_in("fake", lambda home: _Local(home=home)):
        planned = FineTuneJob.plan(spec, home=home)
        with monkeypatch.context() as patch:
            patch.setattr("finetune_sdk.store.this_process", lambda: "another-boot:1:1")
            job = JobStore(home).create(spec, planned)
        yield FineTuneJob.attach(job.id, home=home)


def test_a_submission_that_certainly_never_happened_is_finished_by_who_looks_next(broken_off: FineTuneJob) -> None:
    events = list(broken_off.follow(poll_s=0.001))

    assert (broken_off.status, bool(events)) == (JobStatus.SUCCEEDED, True)


def test_of_many_who_look_one_finishes_the_submission(broken_off: FineTuneJob) -> None:
    with ThreadPoolExecutor(8) as pool:
        looks = [pool.submit(broken_off.refresh) for _ in range(8)]
        assert {look.result().id for look in looks} == {broken_off.id}

    assert len(FakeProvider(home=broken_off.home).vendor.jobs()) == 1


def test_a_submission_that_never_happened_can_be_given_up(broken_off: FineTuneJob) -> None:
    JobStore(broken_off.home).intend(broken_off.id, "cancel")

    assert broken_off.refresh().status is JobStatus.CANCELLED
    assert FakeProvider(home=broken_off.home).vendor.jobs() == []
