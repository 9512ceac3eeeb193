"""Cancel, pause and resume: honoured, enforced, honest when they lose the race."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import worker_jobs as jobs

from finetune_sdk.errors import EnvError, ProviderError
from finetune_sdk.types import JobStatus
from finetune_sdk.worker import process, wire


def test_cancelling_ends_the_job_as_cancelled(tmp_path: Path) -> None:
    job = jobs.start(tmp_path / "job", "train", steps=10_000)
    jobs.until_event(job, "step")
    process.cancel(job)
    assert process.poll(job).status in (JobStatus.CANCELLING, JobStatus.CANCELLED)
    assert jobs.end(job).status is JobStatus.CANCELLED


def test_cancelling_before_the_worker_listens_is_no_failure(tmp_path: Path) -> None:
    job = jobs.start(tmp_path / "job", "train", steps=10_000)
    process.cancel(job)
    assert jobs.end(job).status is JobStatus.CANCELLED


def test_cancelling_twice_and_after_the_end_changes_nothing(tmp_path: Path) -> None:
    job = jobs.start(tmp_path / "job", "train", steps=10_000)
    process.cancel(job)
    process.cancel(job)
    jobs.end(job)
    process.cancel(job)
    assert process.poll(job).status is JobStatus.CANCELLED


def test_cancelling_a_finished_job_leaves_its_success(tmp_path: Path) -> None:
    job = jobs.start(tmp_path / "job", "train")
    jobs.end(job)
    process.cancel(job)
    assert process.poll(job).status is JobStatus.SUCCEEDED


def test_a_worker_that_does_not_listen_is_killed_with_everything_it_started(tmp_path: Path) -> None:
    job = jobs.start(tmp_path / "job", "deaf")
    jobs.until_event(job, "deaf")
    process.cancel(job, grace_s=0.05)
    assert jobs.end(job).status is JobStatus.CANCELLED
    assert jobs.gone(jobs.pid(job, "worker_pid"))
    assert jobs.gone(int((job / "grandchild").read_text()))


@pytest.mark.parametrize(("verb", "status"), [(process.cancel, JobStatus.CANCELLED), (process.pause, JobStatus.PAUSED)])
def test_an_import_is_left_when_the_job_is_told_to_stop(
    tmp_path: Path, verb: Callable[[Path], None], status: JobStatus
) -> None:
    job = jobs.start(tmp_path / "job", "import_for_ever")
    jobs.until_event(job, "importing")
    verb(job)
    assert jobs.end(job).status is status


def test_a_shutdown_during_an_import_is_the_reason_of_the_failure(tmp_path: Path) -> None:
    job = jobs.start(tmp_path / "job", "import_for_ever")
    jobs.until_event(job, "importing")
    os.kill(jobs.pid(job), signal.SIGTERM)
    state = jobs.end(job)
    assert (state.status, "SIGTERM from outside" in (state.error or "")) == (JobStatus.FAILED, True)


def test_after_its_imports_a_worker_leaves_when_it_has_saved(tmp_path: Path) -> None:
    job = jobs.start(tmp_path / "job", "import_in_a_moment")
    jobs.until_event(job, "imported")
    process.pause(job)
    assert jobs.end(job).status is JobStatus.PAUSED
    assert (job / "saved").exists()


def test_one_of_several_processes_does_not_leave_an_import_alone(tmp_path: Path) -> None:
    job = jobs.start(tmp_path / "job", "import_in_a_moment", processes=2)
    process.pause(job)
    assert jobs.end(job).status is JobStatus.PAUSED
    assert (job / "saved").exists()


def test_more_signals_do_not_interrupt_the_farewell(tmp_path: Path) -> None:
    job = jobs.start(tmp_path / "job", "slow_farewell")
    jobs.until_event(job, "running")
    process.pause(job)
    jobs.until_event(job, "saving")
    for pid in (jobs.pid(job), jobs.pid(job, "worker_pid")):
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGINT)
    (job / "go").touch()
    assert jobs.end(job).status is JobStatus.PAUSED


def test_a_paused_job_goes_on_where_it_stopped(tmp_path: Path) -> None:
    job = jobs.start(tmp_path / "job", "train", steps=20, held_at=5)
    jobs.until_event(job, "step")
    process.pause(job)
    assert jobs.end(job).status is JobStatus.PAUSED
    process.resume(job)
    assert jobs.end(job).status is JobStatus.SUCCEEDED
    events = process.events(job)
    assert [event.step for event in events] == [*range(1, 21), 20]
    assert events[-1].metrics["attempt"] == 2
    cursors = [event.cursor for event in events]
    assert cursors == sorted(set(cursors))


def test_a_pause_that_is_not_obeyed_in_time_still_pauses(tmp_path: Path) -> None:
    job = jobs.start(tmp_path / "job", "deaf")
    jobs.until_event(job, "deaf")
    process.pause(job, grace_s=0.05)
    assert jobs.end(job).status is JobStatus.PAUSED


def test_a_paused_job_can_be_cancelled(tmp_path: Path) -> None:
    job = jobs.start(tmp_path / "job", "train", steps=10_000)
    process.pause(job)
    jobs.end(job)
    process.cancel(job)
    assert process.poll(job).status is JobStatus.CANCELLED


def test_cancelling_overtakes_a_pause_that_takes_too_long(tmp_path: Path) -> None:
    job = jobs.start(tmp_path / "job", "deaf")
    jobs.until_event(job, "deaf")
    process.pause(job)
    process.cancel(job, grace_s=0.05)
    assert jobs.end(job).status is JobStatus.CANCELLED


def test_a_killed_job_resumes_with_higher_cursors_after_a_torn_line(tmp_path: Path) -> None:
    job = jobs.start(tmp_path / "job", "train", steps=20, held_at=5)
    jobs.until_event(job, "step")
    os.kill(jobs.pid(job, "worker_pid"), signal.SIGKILL)
    jobs.end(job)
    before = process.events(job)
    with (job / wire.EVENTS).open("ab") as file:
        file.write(b'{"cursor": "0000')  # killed inside a line
    process.resume(job)
    assert jobs.end(job).status is JobStatus.SUCCEEDED
    after = process.events(job, before[-1].cursor)
    assert {event.step for event in (*before, *after)} == set(range(1, 21))
    assert len(process.events(job)) == len(before) + len(after)


def test_resuming_a_running_or_finished_job_is_refused(tmp_path: Path) -> None:
    job = jobs.start(tmp_path / "job", "train", held_at=2)
    with pytest.raises(ProviderError, match="still running"):
        process.resume(job)
    (job / "go").touch()
    jobs.end(job)
    with pytest.raises(ProviderError, match="nothing to resume"):
        process.resume(job)


def test_a_resume_that_cannot_start_leaves_the_job_as_it_was(tmp_path: Path) -> None:
    job = jobs.start(tmp_path / "job", "fail_cleanly")
    jobs.end(job)
    with pytest.raises(EnvError):
        process.resume(job, python=tmp_path / "no-python")
    state = process.poll(job)
    assert (state.status, state.error) == (JobStatus.FAILED, "the loss is NaN at step 3")


def test_resuming_with_another_request_replaces_it(tmp_path: Path) -> None:
    job = jobs.start(tmp_path / "job", "fail_cleanly")
    jobs.end(job)
    process.resume(job, request={"deed": "train"})
    assert jobs.end(job).status is JobStatus.SUCCEEDED


def test_watching_while_it_is_resumed_never_shows_an_end_that_is_none(tmp_path: Path) -> None:
    job = jobs.start(tmp_path / "job", "train", steps=10_000)
    seen: set[JobStatus] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            seen.add(process.poll(job).status)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(3):
        process.pause(job)
        jobs.end(job)
        process.resume(job)
    process.cancel(job)
    jobs.end(job)
    done.set()
    watcher.join()
    assert seen <= {JobStatus.RUNNING, JobStatus.PAUSED, JobStatus.CANCELLING, JobStatus.CANCELLED}
