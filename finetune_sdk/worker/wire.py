"""What both sides of a job folder agree upon: its file names, and how a file is written and read.

Standard library only: `runner.py` and `supervisor.py` load this file by path, in an interpreter without the SDK.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from pathlib import Path
from typing import Any, cast

SPEC = "spec.json"
EVENTS = "events.jsonl"
RESULT = "result.json"
PROCESS = "process.json"
LOG = "worker.log"
LOCK = ".start.lock"
"""Held (flock) from before the folder is touched until `process.json` is written: "somebody is starting this job"."""
BALLAST = ".ballast"
"""A few blocks that are given back when the disk is full, so that the result can still be written."""
CANCEL = "cancel"
PAUSE = "pause"
STOP = "stop"
"""Written by the supervisor: save and leave; the job then counts as failed for the reason inside."""

TOKEN_ENV = "FINETUNE_WORKER_TOKEN"  # noqa: S105 - the name of a variable; its value marks processes, it opens nothing
_BALLAST_BYTES = 64 * 1024
_TAIL_BYTES = 256 * 1024  # of which a progress bar may take most


def rank_error(rank: int) -> str:
    """Name of the file in which a process other than the first says why it failed."""
    return f"rank-{rank}.error.json"


def write_json(path: Path, value: object) -> None:
    """Replace `path` atomically and durably. On a full disk the ballast beside it is given up for it."""
    try:
        _write(path, json.dumps(value, ensure_ascii=False))
    except OSError as exc:
        if exc.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        path.with_name(BALLAST).unlink(missing_ok=True)
        _write(path, json.dumps(value, ensure_ascii=False))


def _write(path: Path, text: str) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in `path`; None when there is no such file, or it holds none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def read_field(path: Path, name: str) -> Any:
    """What the object in `path` says under `name`; None when it does not say."""
    return (read_json(path) or {}).get(name)


def add_ballast(job_dir: Path) -> None:
    """Put the ballast there, if there is room."""
    with contextlib.suppress(OSError):
        (job_dir / BALLAST).write_bytes(os.urandom(_BALLAST_BYTES))  # random: a compressing file system cannot cheat


def log_tail(job_dir: Path, *, offset: int = 0, lines: int = 20, max_chars: int = 4000) -> str:
    """The last lines of `worker.log` after `offset`; of a progress bar its last state. "" when there are none."""
    try:
        with (job_dir / LOG).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(offset, size - _TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    shown = (line.rstrip("\r").rpartition("\r")[2] for line in text.rstrip().split("\n")[-lines:])
    return "\n".join(shown)[-max_chars:]
