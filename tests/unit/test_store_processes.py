"""The store under several processes, sudden deaths, full disks and folders that may not be written."""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import shutil
import signal
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from fakes import fake_spec

from finetune_sdk.errors import StoreError
from finetune_sdk.provider import Plan
from finetune_sdk.store import JobStore

FORK = multiprocessing.get_context("fork")
SPEC = fake_spec(Path("/data/train.jsonl"))
PLAN = Plan(provider="fake", request={"model": "m"})


def test_eight_processes_open_a_new_store_at_once_twenty_times(tmp_path: Path) -> None:
    for round_number in range(20):
        home = tmp_path / f"home-{round_number}"
        barrier = FORK.Barrier(8)

        def create(home: Path = home, start: Callable[[], object] = barrier.wait) -> None:
            start()
            JobStore(home).create(SPEC, PLAN)

        assert _exit_codes(create, 8) == [0] * 8
        assert len(JobStore(home).jobs()) == 8


def test_eight_processes_find_a_damaged_store_at_once(tmp_path: Path) -> None:
    job = JobStore(tmp_path).create(SPEC, PLAN)
    (tmp_path / "jobs.db").write_bytes(b"no database" * 1000)
    barrier = FORK.Barrier(8)

    def look() -> None:
        barrier.wait()
        assert [one.id for one in JobStore(tmp_path).jobs()] == [job.id]

    assert _exit_codes(look, 8) == [0] * 8


@pytest.mark.parametrize("seed", range(6))
def test_a_writer_killed_at_any_moment_loses_nothing_it_was_told(tmp_path: Path, seed: int) -> None:
    ours, theirs = FORK.Pipe()
    writer = FORK.Process(target=_write_for_ever, args=(tmp_path, theirs))
    writer.start()
    time.sleep(random.Random(seed).uniform(0.02, 0.05))
    os.kill(writer.pid or 0, signal.SIGKILL)
    writer.join()

    acknowledged = set(_received(ours))
    assert acknowledged <= {job.id for job in JobStore(tmp_path).jobs()}
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_full_disk_is_a_store_error_and_stores_nothing(tmp_path: Path) -> None:
    JobStore(tmp_path).jobs()

    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (120_000, 120_000))  # a write beyond it fails as on a full disk
        with pytest.raises(StoreError, match=r"disk|File too large"):
            _create_many(tmp_path)

    assert _exit_codes(fill, 1) == [0]
    stored = {job.id for job in JobStore(tmp_path).jobs()}
    assert stored
    assert stored == {folder.name for folder in (tmp_path / "jobs").iterdir()}


@pytest.fixture
def read_only() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp())  # tmp_path is closed to other users, and root may write anywhere
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_read_only_home_is_refused_with_the_remedy(read_only: Path, below: str) -> None:
    def open_it() -> None:
        if os.getuid() == 0:
            os.setuid(65534)
        with pytest.raises(StoreError, match="FINETUNE_HOME"):
            JobStore(read_only / below)

    assert _exit_codes(open_it, 1) == [0]


def test_a_home_that_is_a_file_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")

    with pytest.raises(StoreError, match="--home"):
        JobStore(tmp_path / "home")


def _exit_codes(deed: Callable[[], None], count: int) -> list[int | None]:
    processes = [FORK.Process(target=deed) for _ in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=240)
    return [process.exitcode for process in processes]


def _create_many(home: Path) -> None:
    for _ in range(100):
        JobStore(home).create(SPEC, PLAN)


def _write_for_ever(home: Path, told: Connection) -> None:
    while True:
        told.send(JobStore(home).create(SPEC, PLAN).id)


def _received(pipe: Connection) -> Iterator[str]:
    while pipe.poll():
        yield pipe.recv()
