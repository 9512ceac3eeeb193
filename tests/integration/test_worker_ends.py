"""Every way a worker can end badly is FAILED with a named cause, and nothing it started is left running."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest
import worker_jobs as jobs

from finetune_sdk.types import JobStatus
from finetune_sdk.worker import process, wire


@pytest.mark.parametrize(
    ("deed", "cause"),
    [
        ("fail_cleanly", "the loss is NaN at step 3"),
        ("raise_error", "ZeroDivisionError: division by zero"),
        ("system_exit", "SystemExit: 0"),
        ("kill_self", "the worker was killed by SIGKILL: most often out of memory"),
        ("segfault", "the worker was killed by SIGSEGV"),
        ("exit_137", "the worker exited with 137 (killed by SIGKILL)"),
        ("exit_silently", "the worker exited with code 0 before writing a result"),
        ("answer_nonsense", "the worker answered with status 'splendid'"),
        ("no_such_deed", "AttributeError: module 'finetune_worker.deeds' has no attribute 'no_such_deed'"),
    ],
)
def test_a_bad_end_is_failed_with_its_cause(tmp_path: Path, deed: str, cause: str) -> None:
    state = jobs.end(jobs.start(tmp_path / "job", deed))
    assert state.status is JobStatus.FAILED
    assert state.error is not None
    assert state.error.startswith(cause)


def test_a_worker_that_cannot_say_it_itself_is_quoted_from_its_log(tmp_path: Path) -> None:
    state = jobs.end(jobs.start(tmp_path / "job", "kill_self"))
    assert state.error is not None
    assert state.error.endswith("Last lines of worker.log:\nlast words")


def test_the_traceback_of_an_exception_is_in_the_log(tmp_path: Path) -> None:
    job = jobs.start(tmp_path / "job", "raise_error")
    jobs.end(job)
    assert "in raise_error" in (job / wire.LOG).read_text()


def test_the_result_wins_over_a_crash_after_it(tmp_path: Path) -> None:
    state = jobs.end(jobs.start(tmp_path / "job", "crash_after_the_result"))
    assert (state.status, state.model) == (JobStatus.SUCCEEDED, "m")


def test_killing_the_worker_takes_its_grandchildren_along(tmp_path: Path) -> None:
    job = jobs.start(tmp_path / "job", "deaf")
    jobs.until_event(job, "deaf")
    os.kill(jobs.pid(job, "worker_pid"), signal.SIGKILL)
    assert jobs.end(job).status is JobStatus.FAILED
    assert jobs.gone(int((job / "grandchild").read_text()))


def test_killing_the_supervisor_takes_the_worker_along_and_is_failed(tmp_path: Path) -> None:
    job = jobs.start(tmp_path / "job", "deaf")
    jobs.until_event(job, "deaf")
    os.kill(jobs.pid(job), signal.SIGKILL)
    jobs.until(lambda: jobs.gone(jobs.pid(job, "worker_pid")))  # at once, before anybody looks
    state = jobs.end(job)
    assert state.status is JobStatus.FAILED
    assert state.error is not None
    assert "SIGKILL" in state.error
    jobs.until(lambda: jobs.gone(int((job / "grandchild").read_text())))


def test_killing_worker_and_supervisor_at_once_is_failed(tmp_path: Path) -> None:
    job = jobs.start(tmp_path / "job", "train", steps=1000)
    jobs.until_event(job, "step")
    os.killpg(jobs.pid(job), signal.SIGKILL)
    assert jobs.end(job).status is JobStatus.FAILED


def test_a_terminating_machine_lets_the_worker_save_and_says_so(tmp_path: Path) -> None:
    job = jobs.start(tmp_path / "job", "train", steps=1000)
    jobs.until_event(job, "step")
    os.kill(jobs.pid(job), signal.SIGTERM)
    state = jobs.end(job)
    assert state.status is JobStatus.FAILED
    assert state.error == "stopped by SIGTERM from outside; checkpoints are kept, resume to continue"


def test_after_a_reboot_nothing_is_alive(tmp_path: Path) -> None:
    job = jobs.start(tmp_path / "job", "train", steps=1000)
    jobs.until_event(job, "step")
    os.killpg(jobs.pid(job), signal.SIGKILL)
    found = wire.read_json(job / wire.PROCESS)
    assert found is not None
    wire.write_json(job / wire.PROCESS, found | {"boot_id": "another boot"})
    state = process.poll(job)
    assert state.status is JobStatus.FAILED
    assert state.error == "interrupted by a reboot of the machine; checkpoints are kept, resume to continue"


def test_the_time_budget_stops_the_job_and_keeps_its_checkpoints(tmp_path: Path) -> None:
    job = jobs.start(tmp_path / "job", "train", steps=100_000, budget_max_hours=0.002)
    state = jobs.end(job)
    assert state.status is JobStatus.FAILED
    assert state.error is not None
    assert state.error.startswith("budget.max_hours (0.002 h) reached; checkpoints are kept.")
    assert int((job / "checkpoint").read_text()) > 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Generator[Path]:
    """A disk of 512 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small disk needs root")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.parametrize("deed", ["fill_the_disk", "fill_the_disk_to_the_last_block"])
def test_a_full_disk_is_failed_and_named(small_disk: Path, deed: str) -> None:
    state = jobs.end(jobs.start(small_disk / "job", deed))
    assert state.status is JobStatus.FAILED
    assert state.error is not None
    assert "No space left on device" in state.error
