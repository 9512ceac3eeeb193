"""A job that is followed, waited for, paused, cancelled and resumed, over the fake provider."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from fake_jobs import FAST_S, HELD, interrupted, submit

from finetune_sdk import JobStatus
from finetune_sdk.errors import (
    AuthFailed,
    JobFailed,
    ProviderError,
    WaitTimeout,
    WrongStatus,
)
from finetune_sdk.testing.fake import FakeProvider


def test_following_gives_every_event_once(home: Path) -> None:
    messages = [event.message for event in submit(home).follow(poll_s=FAST_S)]

    assert messages == ["queued", "running", "running", "running", "succeeded"]


def test_following_goes_on_after_a_cursor(home: Path) -> None:
    job = submit(home)
    second = list(job.follow(poll_s=FAST_S))[1]

    assert [event.message for event in job.follow(after=second.cursor)] == ["running", "running", "succeeded"]


def test_following_can_be_left_and_the_job_goes_on(home: Path) -> None:
    job = submit(home, script=HELD)
    for event in job.follow(poll_s=FAST_S):
        if event.message == "running":
            break

    assert job.status is JobStatus.RUNNING


def test_waiting_can_time_out_and_does_not_cancel(home: Path) -> None:
    job = submit(home, script=HELD)
    job.refresh()

    with pytest.raises(WaitTimeout, match=job.id):
        job.wait(timeout_s=0.01, poll_s=FAST_S)
    assert job.status is JobStatus.RUNNING


def test_waiting_for_a_failure_raises_its_reason(home: Path) -> None:
    job = submit(home, script=["queued", "failed"])

    with pytest.raises(JobFailed, match="the script says so"):
        job.wait(poll_s=FAST_S)


def test_waiting_ends_when_the_job_is_paused(home: Path) -> None:
    job = submit(home, script=HELD)
    job.refresh()
    job.pause()

    assert job.wait(poll_s=FAST_S).status is JobStatus.PAUSED


def test_waiting_goes_on_when_the_vendor_pauses_the_job_by_itself(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    job = submit(home, script=["queued", "running", "paused", "paused", "running", "paused", "succeeded"])

    with caplog.at_level(logging.INFO, logger="finetune_sdk"):
        assert job.wait(poll_s=FAST_S).status is JobStatus.SUCCEEDED
    told = [record.message for record in caplog.records if "waiting goes on" in record.message]
    assert len(told) == 2  # once for each pause


def test_following_goes_on_when_the_vendor_pauses_the_job_by_itself(home: Path) -> None:
    job = submit(home, script=["queued", "paused", "running", "succeeded"])

    assert [event.message for event in job.follow(poll_s=FAST_S)][-1] == "succeeded"


def test_a_pause_that_was_asked_for_after_the_vendors_own_is_rest(home: Path) -> None:
    job = submit(home, script=["queued", "paused", "paused", "paused", "succeeded"])
    job.refresh()
    job.pause()

    assert job.wait(poll_s=FAST_S).status is JobStatus.PAUSED


def test_a_pause_the_vendor_refuses_is_said_once_and_does_not_stand_in_the_way(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit(home, script=["queued", "running", "running", "succeeded"])
    job.refresh()
    monkeypatch.setattr(FakeProvider, "pause", _refused)
    with pytest.raises(ProviderError, match="no step yet"):
        job.pause()

    assert job.wait(poll_s=FAST_S).status is JobStatus.SUCCEEDED


def _refused(_provider: FakeProvider, _ref: str) -> None:
    raise ProviderError("[fake] no step yet")


def test_a_cancelled_job_ends_as_cancelled(home: Path) -> None:
    job = submit(home, script=HELD)
    job.cancel()

    with pytest.raises(JobFailed, match="was cancelled"):
        job.wait(poll_s=FAST_S)


def test_cancelling_a_finished_job_does_nothing(home: Path, fake: FakeProvider) -> None:
    job = submit(home)
    job.wait(poll_s=FAST_S)

    assert job.cancel().status is JobStatus.SUCCEEDED
    assert "cancel" not in fake.vendor.requests()


def test_a_cancel_that_did_not_get_through_is_delivered_later(home: Path, fake: FakeProvider) -> None:
    job = submit(home, script=HELD)
    job.refresh()
    fake.vendor.fail_next("auth")
    with pytest.raises(AuthFailed):
        job.cancel()

    assert job.status is JobStatus.CANCELLING
    assert job.refresh().status is JobStatus.CANCELLED


@pytest.mark.parametrize("script", [["queued", "failed"], ["queued", "paused"]])
def test_a_stopped_job_can_be_resumed(home: Path, script: list[str]) -> None:
    job = submit(home, script=script)
    job.refresh()
    job.resume()

    assert job.wait(poll_s=FAST_S).status is JobStatus.SUCCEEDED


def test_a_resume_that_did_not_get_through_is_delivered_later(
    home: Path, fake: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit(home, script=["queued", "failed"])
    job.refresh()
    monkeypatch.setattr(FakeProvider, "resume", interrupted)
    with pytest.raises(KeyboardInterrupt):
        job.resume()
    monkeypatch.undo()

    assert job.status is JobStatus.FAILED
    assert (job.refresh().attempt, job.wait(poll_s=FAST_S).status) == (2, JobStatus.SUCCEEDED)


@pytest.mark.parametrize(("verb", "status"), [("resume", "succeeded"), ("pause", "succeeded"), ("resume", "running")])
def test_a_verb_that_does_not_fit_is_refused(home: Path, verb: str, status: str) -> None:
    job = submit(home, script=["queued", status])
    job.refresh()

    with pytest.raises(WrongStatus, match=f"is {status}"):
        getattr(job, verb)()
