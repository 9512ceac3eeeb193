"""One SQLite file that survives crashes, full disks, concurrent first use and corruption.

Every operation opens its own connection: safe across threads and forks, and a corrupt file can be replaced between two
operations. Writes are `BEGIN IMMEDIATE` with `synchronous=FULL`: what was answered is on the disk.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from finetune_sdk._migrations import MIGRATIONS
from finetune_sdk.errors import StoreError

T = TypeVar("T")
log = logging.getLogger(__name__)

_BUSY_S = 30.0  # longer than any write of ours; a hung writer is reported, not waited for without end
_CORRUPT = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class Database:
    """The store's file. `refill` runs in the transaction that creates the schema: it restores rows after a loss."""

    def __init__(self, path: Path, *, refill: Callable[[sqlite3.Connection], object]) -> None:
        self.path = path
        self._refill = refill

    def read(self, deed: Callable[[sqlite3.Connection], T]) -> T:
        """The deed's answer, from one consistent snapshot."""
        return self._run("BEGIN", deed)

    def write(self, deed: Callable[[sqlite3.Connection], T]) -> T:
        """The deed's answer, once everything it wrote is on the disk; an exception in it undoes all of it."""
        return self._run("BEGIN IMMEDIATE", deed)

    def _run(self, begin: str, deed: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return self._attempt(begin, deed)
        except sqlite3.DatabaseError as exc:
            if not _is_corrupt(exc):
                raise self._explained(exc) from exc
        self._move_aside()
        try:
            return self._attempt(begin, deed)
        except sqlite3.DatabaseError as exc:
            raise self._explained(exc) from exc

    def _attempt(self, begin: str, deed: Callable[[sqlite3.Connection], T]) -> T:
        with closing(self._connect()) as db:
            return _transaction(db, begin, deed)

    def _connect(self) -> sqlite3.Connection:
        if not self.path.exists():
            self._create_file()
        db = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None)
        try:
            db.row_factory = sqlite3.Row
            db.execute("PRAGMA foreign_keys = ON")
            db.execute("PRAGMA synchronous = FULL")
            if _version(db) != len(MIGRATIONS) or _pragma(db, "journal_mode") != "wal":
                self._prepare(db)
        except BaseException:
            db.close()
            raise
        return db

    def _create_file(self) -> None:
        try:
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
        except OSError as exc:
            raise StoreError(
                f"the job store {str(self.path)!r} cannot be created: {exc.strerror}. Use another home."
            ) from exc

    def _prepare(self, db: sqlite3.Connection) -> None:
        with self._lock():  # SQLite does not wait when two connections change the journal mode at once
            # The answer counts: a disk error or a network file system leaves the mode as it was, without an exception.
            mode = _pragma(db, "journal_mode = WAL")
            if mode != "wal" and (mode := _pragma(db, "journal_mode = DELETE")) != "delete":
                raise StoreError(
                    f"the job store {str(self.path)!r} has journal mode {mode!r}; use a home on a local disk"
                )
            self._migrate(db)

    def _migrate(self, db: sqlite3.Connection) -> None:
        if _version(db) > len(MIGRATIONS):
            raise StoreError(
                f"the job store {str(self.path)!r} was written by a newer finetune-sdk (schema {_version(db)}, this "
                f"one knows {len(MIGRATIONS)}). Run: pip install --upgrade finetune-sdk; or use another home."
            )
        for version in range(_version(db), len(MIGRATIONS)):
            _transaction(db, "BEGIN IMMEDIATE", partial(self._step, version=version))

    def _step(self, db: sqlite3.Connection, *, version: int) -> None:
        for statement in MIGRATIONS[version]:
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {version + 1}")
        if version + 1 == len(MIGRATIONS):
            self._refill(db)

    @contextmanager
    def _lock(self) -> Generator[None]:
        with self.path.with_suffix(".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _move_aside(self) -> None:
        """Set the corrupt file aside, unless another process has done so meanwhile; the next use builds a new one."""
        with self._lock():
            if self._sound():
                return
            stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
            aside = self.path.with_name(f"{self.path.name}.corrupt-{stamp}")
            log.warning(
                "the job store %s is corrupt: moved to %s, rebuilding it from the job folders", self.path, aside
            )
            for end in ("-wal", "-shm", ""):
                part = self.path.with_name(self.path.name + end)
                if part.exists():
                    part.replace(aside.with_name(aside.name + end))

    def _sound(self) -> bool:
        try:
            with closing(sqlite3.connect(self.path, timeout=_BUSY_S)) as db:
                return bool(_pragma(db, "quick_check") == "ok")
        except sqlite3.DatabaseError as exc:
            if _is_corrupt(exc):
                return False
            raise

    def _explained(self, exc: sqlite3.DatabaseError) -> StoreError:
        return StoreError(
            f"the job store {str(self.path)!r} cannot be used: {exc}. "
            "Free the disk or end the process that holds it, or name another home with `--home DIR`."
        )


def _transaction(db: sqlite3.Connection, begin: str, deed: Callable[[sqlite3.Connection], T]) -> T:
    db.execute(begin)
    try:
        answer = deed(db)
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    return answer


def _pragma(db: sqlite3.Connection, text: str) -> str | int:
    answer: str | int = db.execute(f"PRAGMA {text}").fetchone()[0]
    return answer


def _version(db: sqlite3.Connection) -> int:
    return int(_pragma(db, "user_version"))


def _is_corrupt(exc: sqlite3.DatabaseError) -> bool:
    code: int | None = getattr(exc, "sqlite_errorcode", None)
    return code is not None and (code & 0xFF) in _CORRUPT  # the low byte is the primary code
