"""Several processes under torchrun: one result, one failure, one end."""

from __future__ import annotations

import os
import signal
from importlib.util import find_spec
from pathlib import Path

import pytest
import worker_jobs as jobs

from finetune_sdk.types import JobStatus
from finetune_sdk.worker import process

pytestmark = pytest.mark.skipif(find_spec("torch") is None, reason="torchrun comes with torch")


def test_ranks_run_together_and_only_the_first_one_speaks(tmp_path: Path) -> None:
    job = jobs.start(tmp_path / "job", "count_ranks", processes=2)
    state = jobs.end(job)
    assert (state.status, state.model) == (JobStatus.SUCCEEDED, "m")
    assert [(job / f"rank-{rank}").read_text() for rank in (0, 1)] == ["2", "2"]
    assert [event.message for event in process.events(job)] == ["I am 0"]


def test_one_failing_rank_fails_the_job_with_its_reason(tmp_path: Path) -> None:
    state = jobs.end(jobs.start(tmp_path / "job", "second_rank_fails", processes=2))
    assert state.status is JobStatus.FAILED
    assert state.error is not None
    assert state.error.startswith("rank 1: rank 1 gave up")


def test_a_killed_rank_fails_the_job_and_names_the_signal(tmp_path: Path) -> None:
    job = jobs.start(tmp_path / "job", "second_rank_hangs", processes=2)
    jobs.until((job / "rank-1.pid").exists)
    jobs.until_event(job, "running")
    rank = int((job / "rank-1.pid").read_text())
    os.kill(rank, signal.SIGKILL)
    state = jobs.end(job)
    assert state.status is JobStatus.FAILED
    assert state.error is not None
    assert state.error.startswith("a process of the worker was killed by SIGKILL")


def test_cancelling_ends_ranks_in_their_own_sessions_too(tmp_path: Path) -> None:
    job = jobs.start(tmp_path / "job", "second_rank_hangs", processes=2)
    jobs.until((job / "rank-1.pid").exists)
    process.cancel(job, grace_s=0.05)
    assert jobs.end(job).status is JobStatus.CANCELLED
    assert jobs.gone(int((job / "rank-1.pid").read_text()))


def test_killing_the_supervisor_ends_the_ranks(tmp_path: Path) -> None:
    job = jobs.start(tmp_path / "job", "second_rank_hangs", processes=2)
    jobs.until((job / "rank-1.pid").exists)
    rank = int((job / "rank-1.pid").read_text())
    os.kill(jobs.pid(job), signal.SIGKILL)
    jobs.until(lambda: jobs.gone(rank))
    assert jobs.end(job).status is JobStatus.FAILED
