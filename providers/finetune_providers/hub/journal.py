"""What was done so far for one rented run, on disk before the next thing is done: a kill leaves a true record."""

from __future__ import annotations

import fcntl
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from finetune_sdk.errors import StoreError, WrongStatus
from finetune_sdk.worker import wire

NAME = "rented.json"


class Journal(msgspec.Struct, frozen=True, kw_only=True):
    """One run. No secret is in it."""

    kind: str
    namespace: str
    repo: str
    """The private repository that holds the job and what comes of it."""
    commit: str | None = None
    """Of the job's files, once they are there."""
    posts: int = 0
    """How many times the creating request was, or may have been, sent."""
    machine: str | None = None
    """The Job's or the Space's id, once known."""
    cancelled: bool = False
    """Asked for by the user."""

    def save(self, folder: Path, **changes: str | int | bool | None) -> Journal:
        """The journal with these changes, durably. Raises `StoreError`."""
        changed = msgspec.structs.replace(self, **changes)
        try:
            wire.write_json(folder / NAME, msgspec.to_builtins(changed))
        except OSError as exc:
            raise StoreError(f"{folder / NAME}: cannot be written: {exc.strerror}. Nothing more was sent.") from exc
        return changed


def load(folder: Path) -> Journal | None:
    """The journal of a job's folder; None = nothing was ever sent for it. Raises `StoreError` when it is damaged."""
    path = folder / NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=Journal)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as exc:
        raise StoreError(f"{path}: the record of this run cannot be read: {exc}. Do not submit it again.") from exc


@contextmanager
def alone(folder: Path) -> Generator[None]:
    """One process at a time works on a run's folder; the lock ends with the process. Raises `WrongStatus`."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / ".rented.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise WrongStatus(f"[hub] another process is submitting job {folder.name} right now: wait for it") from exc
        yield
