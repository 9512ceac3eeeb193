"""A worker is alive when pid, start time, boot and token all agree."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
import worker_jobs as jobs

from finetune_sdk.errors import StoreError
from finetune_sdk.types import JobStatus
from finetune_sdk.worker import ends, process, state, wire
from finetune_sdk.worker.liveness import Process, starting


@pytest.fixture
def living() -> Generator[Process]:
    environment = os.environ | {wire.TOKEN_ENV: "a token"}
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=environment) as child:
        ticks = ends.start_ticks(child.pid)
        assert ticks is not None
        jobs.until(lambda: ends.has_token(child.pid, wire.TOKEN_ENV.encode() + b"=a token"))  # exec is done
        yield Process(
            pid=child.pid,
            start_ticks=ticks,
            boot_id=ends.boot_id(),
            token="a token",
            worker_pid=child.pid,
            attempt=1,
            log_offset=0,
        )
        child.kill()


def test_a_process_that_agrees_in_everything_is_alive(living: Process) -> None:
    assert living.alive


@pytest.mark.parametrize(
    "change",
    [{"pid": 2**22}, {"start_ticks": 1}, {"boot_id": "another"}, {"token": "another"}],
    ids=["pid", "start time", "boot", "token"],
)
def test_one_thing_that_differs_means_dead(living: Process, change: dict[str, str | int]) -> None:
    assert not dataclasses.replace(living, **change).alive  # pyright: ignore[reportArgumentType]


def test_a_zombie_is_dead(living: Process) -> None:
    os.kill(living.pid, 9)
    os.waitid(os.P_PID, living.pid, os.WEXITED | os.WNOWAIT)  # dead, but nobody has reaped it
    assert not living.alive


def test_sweeping_kills_what_carries_the_token_and_nothing_else(living: Process) -> None:
    dataclasses.replace(living, token="another").sweep()
    assert living.alive
    living.sweep()
    jobs.until(lambda: not living.alive)


def test_a_job_that_is_being_started_is_preparing(tmp_path: Path) -> None:
    lock = os.open(tmp_path / wire.LOCK, os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    assert process.poll(tmp_path).status is JobStatus.PREPARING
    os.close(lock)
    assert not starting(tmp_path)


def test_a_damaged_record_is_a_store_error_and_no_guess(tmp_path: Path) -> None:
    (tmp_path / wire.PROCESS).write_text('{"pid": 1')
    with pytest.raises(StoreError, match="damaged"):
        process.poll(tmp_path)


def test_a_job_that_is_resumed_while_it_is_looked_at_is_not_called_dead(
    tmp_path: Path, living: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire.write_json(tmp_path / wire.PROCESS, dataclasses.asdict(living) | {"start_ticks": 1, "token": "before"})

    def resumed_meanwhile(_: Path) -> None:
        wire.write_json(tmp_path / wire.PROCESS, dataclasses.asdict(living))

    monkeypatch.setattr(state, "result", resumed_meanwhile)
    assert process.poll(tmp_path).status is JobStatus.RUNNING
