"""What a job folder says: status, events, artifacts. Reads only (and clears away what a killed worker left running)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from finetune_sdk.errors import JobNotFound, ProviderError
from finetune_sdk.redact import redact
from finetune_sdk.types import Artifact, Event, JobState, JobStatus, Usage
from finetune_sdk.worker import ends, wire
from finetune_sdk.worker.liveness import Process, starting

_BLOCK = 64 * 1024


def started(job_dir: Path) -> bool:
    """Whether `start` ever got as far as a process, or is about to: what a provider's `find` asks after a crash."""
    return starting(job_dir) or (job_dir / wire.PROCESS).exists()  # in this order: the record comes before the release


def poll(job_dir: Path) -> JobState:
    """The job's state now. A dead worker's `result.json` decides; without one the cause is inferred from what it left.

    Raises `JobNotFound` for a folder in which nothing was started.
    """
    while True:
        process = Process.read(job_dir)
        if starting(job_dir):
            return JobState(status=JobStatus.PREPARING if process is None else JobStatus.RUNNING, raw_status="starting")
        if process is None:
            if started(job_dir):
                continue
            raise JobNotFound(f"no worker was ever started in {job_dir}", sent=False)
        if process.alive:
            cancelling = (job_dir / wire.CANCEL).exists()
            return JobState(status=JobStatus.CANCELLING if cancelling else JobStatus.RUNNING, raw_status="running")
        end = result(job_dir) or _infer(job_dir, process)
        if Process.read(job_dir) == process and not starting(job_dir):  # else it was resumed while we looked
            return ended(job_dir, end)


def result(job_dir: Path) -> dict[str, Any] | None:
    """`result.json` as the worker or its supervisor wrote it; None while there is none."""
    return wire.read_json(job_dir / wire.RESULT)


def _infer(job_dir: Path, process: Process) -> dict[str, Any]:
    """Nobody was left to write a result: worker and supervisor were killed, the machine went down, the disk is full."""
    process.sweep()
    found = result(job_dir)  # written between our two looks
    if found is not None:
        return found
    end = ends.explain(job_dir, code=None, oom_killed=False, log_offset=process.log_offset, wire=wire)
    if end["status"] == "failed" and process.rebooted:
        end["error"] = "interrupted by a reboot of the machine; checkpoints are kept, resume to continue"
    return end | {"error": redact(end["error"]) if end["error"] else None}


def ended(job_dir: Path, end: Mapping[str, Any]) -> JobState:
    """What a result says, as a state; for results that lie here and for those that come from elsewhere."""
    word = str(end.get("status"))
    status = {status.value: status for status in JobStatus}.get(word, JobStatus.FAILED)
    if status is JobStatus.PAUSED and (job_dir / wire.CANCEL).exists():  # cancelled while it was paused
        status = JobStatus.CANCELLED
    error = end.get("error")
    if status is JobStatus.FAILED and not error:
        error = f"the worker reported {word!r} without a reason"
    model = end.get("model")
    return JobState(
        status=status,
        raw_status=word,
        held=status is JobStatus.PAUSED,  # the worker has left: nobody but a user brings it back
        error=error,
        model=str(model) if model else str(job_dir / "artifacts") if status is JobStatus.SUCCEEDED else None,
        usage=_usage(end.get("usage")),
        metrics=_numbers(end.get("metrics")),
    )


def _usage(found: dict[str, Any] | None) -> Usage | None:
    if not found:
        return None
    return Usage(**{name: found[name] for name in Usage.__slots__ if name in found})


def _numbers(found: dict[str, Any] | None) -> Mapping[str, float]:
    return {k: float(v) for k, v in (found or {}).items() if isinstance(v, int | float) and math.isfinite(v)}


def artifacts(job_dir: Path) -> list[Artifact]:
    """What `result.json` lists; relative paths are inside the job folder. Entries without kind or path are left out."""
    listed: list[dict[str, Any]] = (result(job_dir) or {}).get("artifacts") or []
    return [
        Artifact(
            kind=entry["kind"],
            uri=str(job_dir / entry["path"]),
            sha256=entry.get("sha256"),
            base_model=entry.get("base_model"),
            chat_template_sha256=entry.get("chat_template_sha256"),
        )
        for entry in listed
        if entry.get("kind") and entry.get("path")
    ]


def events(job_dir: Path, after: str | None = None) -> list[Event]:
    """Events with a cursor above `after`, oldest first. A line that is torn or no event is passed over.

    Reads the file from its end, so following a long job costs no more than what is new.
    """
    if after is not None and not after.isdecimal():
        raise ProviderError(f"{after!r} is no cursor of a worker's job; cursors look like '000000042'", sent=False)
    last = int(after) if after else 0
    try:
        with (job_dir / wire.EVENTS).open("rb") as file:
            end = start = file.seek(0, 2)
            while True:
                start = max(0, end - 2 * (end - start) - _BLOCK)
                file.seek(start)
                lines = file.read(end - start).split(b"\n")
                found = [event for line in lines[:-1] if (event := _event(line)) is not None]  # the last is incomplete
                if start == 0 or (found and int(found[0].cursor) <= last):
                    return [event for event in found if int(event.cursor) > last]
    except FileNotFoundError:
        return []


def _event(line: bytes) -> Event | None:
    try:
        row = json.loads(line)
        return Event(
            cursor=f"{int(row['cursor']):09d}",
            at=datetime.fromisoformat(row["at"]),
            level=row["level"],
            message=str(row["message"]),
            step=row.get("step"),
            metrics=_numbers(row.get("metrics")),
        )
    except (ValueError, KeyError, TypeError):
        return None
