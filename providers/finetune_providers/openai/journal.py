"""What a submission has done so far, on disk before it does the next thing: a kill leaves a true record."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from finetune_sdk.errors import StoreError, WrongStatus

NAME = "submission.json"

Role = Literal["train", "validation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """One submission. Each `save` is durable when it returns."""

    path: Path
    server: dict[str, Any]
    """The connection, as fields: never a key."""
    token: str
    uploading: tuple[str, ...] = ()
    """Roles whose upload was begun: its reply may be lost."""
    files: dict[str, str] = field(default_factory=dict[str, str])
    """File ids by role."""
    since: int | None = None
    """When the training file was created, by the server's clock: no job of ours is older."""
    posts: int = 0
    """How many times the creating request was, or may have been, sent."""
    job: str | None = None
    """The job's id, once known."""

    def save(self, **changes: Any) -> Journal:
        """The journal with these changes, durably."""
        changed = replace(self, **changes)
        values = asdict(changed)
        del values["path"]
        write_durably(self.path, json.dumps(values))
        return changed


def load(folder: Path) -> Journal | None:
    """The journal of a job's folder; None = nothing was ever sent for it. Raises `StoreError` when it is damaged."""
    path = folder / NAME
    try:
        values = json.loads(path.read_text("utf-8"))
        fields: dict[str, Any] = {**values, "uploading": tuple(values["uploading"])}
        return Journal(path=path, **fields)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as exc:
        raise StoreError(f"{path}: the record of this submission cannot be read: {exc}. Do not submit again.") from exc


@contextmanager
def alone(folder: Path, provider: str) -> Generator[None, None, None]:
    """One process at a time works on a submission; the lock ends with the process. Raises `WrongStatus`."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "submission.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise WrongStatus(
                f"[{provider}] another process is submitting job {folder.name} right now: wait for it"
            ) from exc
        yield


def start(folder: Path, *, server: dict[str, Any], token: str) -> Journal:
    """A new journal, already on disk."""
    return Journal(path=folder / NAME, server=server, token=token).save()


def write_durably(path: Path, text: str) -> None:
    """Replace the file so that after a power cut it holds the old text or the new one, never half of it."""
    part = path.with_suffix(path.suffix + ".part")
    try:
        with part.open("w", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        part.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as exc:
        raise StoreError(f"{path}: cannot be written: {exc.strerror or exc}. Nothing more was sent.") from exc
