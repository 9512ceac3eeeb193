"""What the gateway remembers beside the job store: files, uploads, and which job of the store is which `ftjob-`.

One SQLite file under `<home>/gateway`. Several servers may use it at once, each may die at any moment: a write is on
the disk when it is answered, and what belongs together changes in one transaction. Reading takes microseconds and may
be done on the event loop; writing waits for the disk and belongs in a thread.
"""

from __future__ import annotations

import fcntl
import secrets
import sqlite3
import string
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from finetune_sdk.errors import StoreError

T = TypeVar("T")

_ALPHABET = string.ascii_letters + string.digits
_BUSY_S = 30.0
_SCHEMA = (
    """
    CREATE TABLE file (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        filename TEXT NOT NULL,
        purpose TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        sha256 TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        expires_at INTEGER
    ) STRICT
    """,
    """
    CREATE TABLE upload (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        filename TEXT NOT NULL,
        purpose TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        status TEXT NOT NULL CHECK (status IN ('pending', 'completing', 'completed', 'cancelled', 'expired')),
        created_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        keep_s INTEGER,
        file_id TEXT
    ) STRICT
    """,
    """
    CREATE TABLE part (
        id TEXT PRIMARY KEY,
        upload_id TEXT NOT NULL REFERENCES upload (id) ON DELETE CASCADE,
        bytes INTEGER NOT NULL,
        created_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE job (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        phase TEXT NOT NULL CHECK (phase IN ('new', 'ready', 'starting', 'live', 'over')),
        status TEXT NOT NULL,
        provider TEXT NOT NULL,
        local INTEGER NOT NULL,
        owner TEXT NOT NULL,
        model TEXT NOT NULL,
        tuned TEXT NOT NULL,
        training_file TEXT NOT NULL,
        validation_file TEXT,
        request TEXT NOT NULL,
        request_sha256 TEXT NOT NULL,
        spec TEXT NOT NULL,
        metadata TEXT NOT NULL,
        seed INTEGER NOT NULL,
        job_id TEXT,
        intent TEXT,
        error TEXT,
        trained_tokens INTEGER,
        settled TEXT,
        result_file TEXT,
        deleted INTEGER NOT NULL DEFAULT 0,
        created_at INTEGER NOT NULL,
        started_at INTEGER,
        finished_at INTEGER
    ) STRICT
    """,
    "CREATE INDEX job_phase ON job (phase)",
    "CREATE INDEX job_tuned ON job (tuned)",
    "CREATE INDEX job_same ON job (request_sha256, created_at)",
    "CREATE UNIQUE INDEX job_of_store ON job (job_id) WHERE job_id IS NOT NULL",
    """
    CREATE TABLE note (
        job TEXT NOT NULL REFERENCES job (id) ON DELETE CASCADE,
        seq INTEGER NOT NULL,
        at INTEGER NOT NULL,
        level TEXT NOT NULL,
        message TEXT NOT NULL,
        last INTEGER NOT NULL,
        PRIMARY KEY (job, seq)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE once (
        owner TEXT NOT NULL,
        key TEXT NOT NULL,
        path TEXT NOT NULL,
        request_sha256 TEXT NOT NULL,
        made TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        PRIMARY KEY (owner, path, key)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE delivery (
        id TEXT PRIMARY KEY,
        url TEXT NOT NULL,
        body TEXT NOT NULL,
        tries INTEGER NOT NULL DEFAULT 0,
        due_at REAL NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
)


_SINCE = ("", "ALTER TABLE job ADD COLUMN settled TEXT")
"""What leads from each version of the schema to the next; the first is made by `_SCHEMA`."""
_VERSION = len(_SINCE)


def new_id(prefix: str) -> str:
    """A fresh id in OpenAI's manner, such as `file-` and 24 letters and digits."""
    return prefix + "".join(secrets.choice(_ALPHABET) for _ in range(24))


class State:
    """The gateway's memory in one home. Opening it creates it. Every method raises `StoreError` when it fails."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.folder = home / "gateway"
        for name in ("files", "uploads", "jobs", "incoming"):
            (self.folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = self.folder / "gateway.db"
        with self.lock("schema"):
            self._reader, self._writer = self._connect(), self._connect()
            self._prepare()
        self._reading, self._writing = Lock(), Lock()

    def read(self, query: str, *values: Any) -> list[sqlite3.Row]:
        """The rows of a query."""
        with self._reading:
            try:
                return self._reader.execute(query, values).fetchall()
            except sqlite3.Error as exc:
                raise self._explained(exc) from exc

    def write(self, deed: Callable[[sqlite3.Connection], T]) -> T:
        """The deed's answer, once all it wrote is on the disk; an exception in it undoes all of it."""
        with self._writing:
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                try:
                    answer = deed(self._writer)
                    self._writer.execute("COMMIT")
                except BaseException:
                    if self._writer.in_transaction:
                        self._writer.execute("ROLLBACK")
                    raise
            except sqlite3.Error as exc:
                raise self._explained(exc) from exc
            return answer

    def change(self, query: str, *values: Any) -> int:
        """One statement, on the disk when this returns; how many rows it changed."""
        return self.write(lambda db: db.execute(query, values).rowcount)

    def lock(self, name: str) -> FileLock:
        """A lock among all servers of this home; it ends with its process."""
        return FileLock(self.folder / f"{name}.lock")

    def close(self) -> None:
        """Let go of the file; nothing is lost without it."""
        with self._reading, self._writing:
            self._reader.close()
            self._writer.close()

    def _connect(self) -> sqlite3.Connection:
        try:
            db = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            db.row_factory = sqlite3.Row
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA foreign_keys = ON")
        except sqlite3.Error as exc:
            raise self._explained(exc) from exc
        self.path.chmod(0o600)
        return db

    def _prepare(self) -> None:
        version = self._writer.execute("PRAGMA user_version").fetchone()[0]
        if version > _VERSION:
            raise StoreError(
                f"{str(self.path)!r} was written by a newer finetune-sdk. Run: pip install --upgrade finetune-sdk"
            )
        if version == 0:
            self._writer.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA:
                self._writer.execute(statement)
            self._writer.execute(f"PRAGMA user_version = {_VERSION}")
            self._writer.execute("COMMIT")
        elif version < _VERSION:
            self._writer.execute("BEGIN IMMEDIATE")
            for statement in _SINCE[version:]:
                self._writer.execute(statement)
            self._writer.execute(f"PRAGMA user_version = {_VERSION}")
            self._writer.execute("COMMIT")

    def _explained(self, exc: sqlite3.Error) -> StoreError:
        return StoreError(f"the gateway's store {str(self.path)!r} cannot be used: {exc}. Free the disk and try again.")


class FileLock:
    """A lock file. As a context it waits; `take` does not."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a")

    def take(self) -> bool:
        """True when the lock is ours now; False = another process has it."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Let others have it."""
        self._file.close()

    def __enter__(self) -> FileLock:
        fcntl.flock(self._file, fcntl.LOCK_EX)
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
