"""Is the worker of a job folder alive? By pid, kernel start time, boot id and token: a pid alone proves nothing."""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from finetune_sdk.errors import StoreError
from finetune_sdk.worker import ends, wire


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """What `process.json` says about the supervisor of a worker."""

    pid: int
    start_ticks: int
    boot_id: str
    token: str
    worker_pid: int
    attempt: int
    log_offset: int

    @classmethod
    def read(cls, job_dir: Path) -> Process | None:
        """None when the folder has never been started. Raises `StoreError` when the record is damaged."""
        path = job_dir / wire.PROCESS
        if not path.exists():
            return None
        try:
            found = wire.read_json(path) or {}
            return cls(**{name: found[name] for name in cls.__slots__})
        except KeyError as exc:
            raise StoreError(f"{path} is damaged: it does not say {exc}") from exc

    @property
    def rebooted(self) -> bool:
        """True when the machine was booted since: nothing of that time is alive."""
        return self.boot_id != ends.boot_id()

    @property
    def alive(self) -> bool:
        """True while this very process runs. A zombie is dead, and so is one that took over the number."""
        if self.rebooted or ends.start_ticks(self.pid) != self.start_ticks:
            return False
        return ends.has_token(self.pid, self._marker) is not False

    @property
    def _marker(self) -> bytes:
        return f"{wire.TOKEN_ENV}={self.token}".encode()

    def sweep(self) -> None:
        """Kill what a dead supervisor may have left: whatever carries the token, in whichever session."""
        if self.rebooted or not self.token:
            return
        for pid in ends.with_token(self._marker):
            ends.kill(pid)


def starting(job_dir: Path) -> bool:
    """True while somebody starts (or resumes) this job: between touching the folder and `process.json`."""
    try:
        lock = os.open(job_dir / wire.LOCK, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(lock)
