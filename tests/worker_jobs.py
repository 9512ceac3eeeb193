"""Starting the toy worker and waiting for it, for the tests of workers."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import JsonValue

from finetune_sdk.types import JobState, JobStatus
from finetune_sdk.worker import ends, process, wire

TOY = Path(__file__).parent / "integration" / "toy_worker"
PATIENCE_S = 240.0


def start(
    job_dir: Path, deed: str, *, env: Mapping[str, str] | None = None, processes: int = 1, **request: JsonValue
) -> Path:
    """Start the toy worker; returns the folder."""
    process.start(
        job_dir,
        python=Path(sys.executable),
        worker=TOY,
        request={"deed": deed, **request},
        job_id=job_dir.name,
        env=env,
        processes=processes,
    )
    return job_dir


def until(claim: Callable[[], object]) -> None:
    """Wait for something to become true."""
    give_up_s = time.monotonic() + PATIENCE_S
    while not claim():
        assert time.monotonic() < give_up_s, "waited too long"
        time.sleep(0.01)


def end(job_dir: Path) -> JobState:
    """Wait for the end (or the pause) of a job."""
    until(lambda: ended(job_dir))
    return process.poll(job_dir)


def ended(job_dir: Path) -> bool:
    status = process.poll(job_dir).status
    return status.terminal or status is JobStatus.PAUSED


def until_event(job_dir: Path, message: str) -> None:
    until(lambda: any(event.message == message for event in process.events(job_dir)))


def pid(job_dir: Path, which: str = "pid") -> int:
    """A number from `process.json`: "pid" is the supervisor's, "worker_pid" the worker's."""
    return int(wire.read_field(job_dir / wire.PROCESS, which))


def gone(number: int) -> bool:
    return ends.start_ticks(number) is None
