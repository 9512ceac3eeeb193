"""`JobStore`: the jobs of one home, on disk first. Several processes may use it at once; each may die at any moment.

A row and its folder's `job.json` change together, in one write transaction, so that the folders alone can restore the
table. A status only moves forward and a terminal one is final: the SQL says so, not the callers.
"""

from __future__ import annotations

import logging
import secrets
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from finetune_sdk import _event_log
from finetune_sdk._database import Database
from finetune_sdk._records import COLUMNS, Intent, JobRecord, from_row, read_record, to_row, write_record
from finetune_sdk._submitter import this_process
from finetune_sdk._transitions import Moved, doubted, ended, intended, observed, reopened, withdrawn
from finetune_sdk.errors import JobNotFound, SpecError, StoreError
from finetune_sdk.home import job_folder, open_home
from finetune_sdk.provider import Plan
from finetune_sdk.redact import redact_tree
from finetune_sdk.spec import JobSpec
from finetune_sdk.types import Deployment, Event, JobState, JobStatus

log = logging.getLogger(__name__)

_TERMINAL = ", ".join(f"'{status}'" for status in JobStatus if status.terminal)
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's: no two look alike


def new_job_id() -> str:
    """A fresh job id: 50 random bits, fit for file names, labels and model suffixes."""
    return "ft-" + "".join(secrets.choice(_ALPHABET) for _ in range(10))


class JobStore:
    """The jobs of one home. Opening it creates the home; every method raises `StoreError` when the disk refuses."""

    def __init__(self, home: str | Path | None = None) -> None:
        self.home = open_home(home)
        self._db = Database(self.home / "jobs.db", refill=self._insert_from_folders)

    # --- reading ----------------------------------------------------------------------------------------------------

    def get(self, job_id: str) -> JobRecord:
        """The record of exactly this id. Raises `JobNotFound`."""
        return self._db.read(partial(_get, job_id=job_id))

    def resolve(self, prefix: str) -> str:
        """The one id that starts with `prefix`. Raises `JobNotFound`, or `SpecError` when several do."""
        query = "SELECT id FROM job WHERE substr(id, 1, ?) = ? ORDER BY id"
        ids = [str(row["id"]) for row in self._db.read(lambda db: db.execute(query, (len(prefix), prefix)).fetchall())]
        if prefix in ids:
            return prefix
        if not ids:
            raise _not_found(prefix)
        if len(ids) > 1 or not prefix:
            raise SpecError(f"{prefix!r} starts the ids of {len(ids)} jobs: {', '.join(ids[:5])}. Give more of it.")
        return ids[0]

    def jobs(self) -> list[JobRecord]:
        """All jobs, newest first."""
        query = "SELECT * FROM job ORDER BY created_at DESC, id"
        return [from_row(row) for row in self._db.read(lambda db: db.execute(query).fetchall())]

    def unfinished(self) -> list[JobRecord]:
        """The jobs that something may still happen to by itself or by request, newest first."""
        query = (
            f"SELECT * FROM job WHERE status NOT IN ({_TERMINAL}) OR intent IS NOT NULL ORDER BY created_at DESC, id"  # noqa: S608
        )
        return [from_row(row) for row in self._db.read(lambda db: db.execute(query).fetchall())]

    def events(self, job_id: str, *, after: str | None = None) -> list[Event]:
        """The stored events in order, those after cursor `after` only. Raises `SpecError` for a cursor never given."""
        return self._db.read(partial(_event_log.read, job_id=job_id, after=after))

    def provider_cursor(self, job_id: str) -> str | None:
        """The cursor of the last event that the provider gave; what to ask it for the next ones with."""
        return self._db.read(partial(_event_log.last_provider_cursor, job_id=job_id))

    # --- a job's life -----------------------------------------------------------------------------------------------

    def create(self, spec: JobSpec, plan: Plan) -> JobRecord:
        """The intent: a new job as PREPARING, on the disk before anything is sent."""
        now = datetime.now(UTC)
        record = JobRecord(
            id=new_job_id(),
            provider=spec.provider,
            spec=_clean(spec.model_dump(mode="json")),
            spec_sha256=spec.sha256,
            plan=_clean(msgspec.to_builtins(plan)),
            submitter=this_process(),
            created_at=now,
            updated_at=now,
        )

        def insert(db: sqlite3.Connection) -> JobRecord:
            _insert(db, record)
            self._write_folder(record)
            return record

        try:
            return self._db.write(insert)
        except BaseException:  # a full disk may fail the commit: no folder may tell of a job that was never stored
            shutil.rmtree(job_folder(self.home, record.id), ignore_errors=True)
            raise

    def bind(self, job_id: str, ref: str) -> JobRecord:
        """Note the provider's reference. Once only: another reference for the same job is refused."""

        def move(job: JobRecord) -> Moved:
            if job.ref not in (None, ref):
                raise StoreError(f"job {job_id} already is {job.ref!r} at {job.provider}, it cannot become {ref!r} too")
            return Moved(replace(job, ref=ref, doubt=None, submitter=None))

        return self._move(job_id, move)

    def take_over(self, job_id: str, *, of: str | None) -> bool:
        """Become the submitter of a job without a reference, in place of `of`; False = somebody else was quicker."""
        taken = False

        def move(job: JobRecord) -> Moved:
            nonlocal taken
            taken = job.ref is None and not job.status.terminal and job.submitter == of
            return Moved(replace(job, submitter=this_process()) if taken else job)

        self._move(job_id, move)
        return taken

    def doubt(self, job_id: str, text: str) -> JobRecord:
        """Nobody knows whether the provider has the job: say so, as a warning and in the record."""
        return self._move(job_id, partial(doubted, text=text))

    def observe(self, job_id: str, state: JobState, events: Sequence[Event], *, attempt: int) -> JobRecord:
        """Store what the provider said while `attempt` was current. What is older than the store is ignored."""

        def move(job: JobRecord) -> Moved:
            return observed(job, state) if attempt == job.attempt else Moved(job)

        return self._move(job_id, move, events=events)

    def end(self, job_id: str, status: JobStatus, reason: str) -> JobRecord:
        """Our own verdict on a job that the provider never had: FAILED or CANCELLED."""
        return self._move(job_id, partial(ended, status=status, reason=reason))

    def intend(self, job_id: str, intent: Intent) -> JobRecord:
        """Store what the user asks for, before the provider is told. Where it makes no sense, nothing changes."""
        return self._move(job_id, partial(intended, intent=intent))

    def delivered(self, job_id: str, intent: Intent) -> JobRecord:
        """The provider has been told."""
        return self._move(job_id, lambda job: Moved(replace(job, intent=None) if job.intent == intent else job))

    def withdraw(self, job_id: str, intent: Intent) -> JobRecord:
        """The provider has refused it."""
        return self._move(job_id, partial(withdrawn, intent=intent))

    def reopen(self, job_id: str) -> JobRecord:
        """A finished job goes on as its next attempt: the one way out of a terminal status."""
        return self._move(job_id, reopened, reopens=True)

    def remove(self, job_id: str) -> None:
        """Forget a job: its row, its events, its folder."""

        def delete(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM job WHERE id = ?", (job_id,))
            folder = job_folder(self.home, job_id)
            if folder.exists():
                _guarded(lambda: shutil.rmtree(folder), f"the folder of job {job_id} cannot be deleted")

        self._db.write(delete)

    # --- deployments ------------------------------------------------------------------------------------------------

    def save_deployment(self, job_id: str | None, deployment: Deployment) -> None:
        """Store a deployment, new or changed; `job_id` None = of no job."""
        row = (deployment.id, job_id, deployment.provider, msgspec.json.encode(deployment).decode(), _now())
        query = "INSERT OR REPLACE INTO deployment (id, job_id, provider, body, updated_at) VALUES (?, ?, ?, ?, ?)"
        self._db.write(lambda db: db.execute(query, row))

    def renew_deployment(self, deployment: Deployment) -> None:
        """Store how a deployment stands now, if it is stored at all; whose job it is, stays."""
        row = (msgspec.json.encode(deployment).decode(), _now(), deployment.id)
        self._db.write(lambda db: db.execute("UPDATE deployment SET body = ?, updated_at = ? WHERE id = ?", row))

    def forget_deployment(self, id_: str) -> None:
        """Delete what is stored about a deployment. Idempotent."""
        self._db.write(lambda db: db.execute("DELETE FROM deployment WHERE id = ?", (id_,)))

    def deployments(self) -> list[Deployment]:
        """All stored deployments, by id."""
        rows = self._db.read(lambda db: db.execute("SELECT body FROM deployment ORDER BY id").fetchall())
        return [msgspec.json.decode(row["body"], type=Deployment) for row in rows]

    # --- recovery ---------------------------------------------------------------------------------------------------

    def rebuild(self) -> list[str]:
        """Insert every job that has a folder and no row; their ids. Events come back from the provider."""
        return self._db.write(self._insert_from_folders)

    def _insert_from_folders(self, db: sqlite3.Connection) -> list[str]:
        known = {row["id"] for row in db.execute("SELECT id FROM job")}
        restored: list[str] = []
        for file in sorted(self.home.glob("jobs/*/job.json")):
            try:
                record = read_record(file)
            except (msgspec.DecodeError, OSError) as exc:
                log.warning("%s cannot be read, its job is left out: %s", file, exc)
                continue
            if record.id not in known:
                _insert(db, record)
                restored.append(record.id)
        return restored

    def _move(
        self,
        job_id: str,
        move: Callable[[JobRecord], Moved],
        *,
        events: Sequence[Event] = (),
        reopens: bool = False,
    ) -> JobRecord:
        def write(db: sqlite3.Connection) -> JobRecord:
            old = _get(db, job_id)
            for event in events:
                _event_log.append(db, job_id, event, origin="provider")
            new, notes = move(old)
            for level, message in notes:
                _event_log.note(db, job_id, level, message)
            if new == old:
                return old
            new = replace(new, updated_at=datetime.now(UTC))
            if not _update(db, new, reopens=reopens):
                return old
            self._write_folder(new)
            return new

        return self._db.write(write)

    def _write_folder(self, record: JobRecord) -> None:
        folder = job_folder(self.home, record.id)
        _guarded(lambda: write_record(record, folder), f"{str(folder)!r} cannot be written")


def _guarded(deed: Callable[[], None], what: str) -> None:
    try:
        deed()
    except OSError as exc:
        raise StoreError(f"{what}: {exc.strerror}. Free the disk, or use another home.") from exc


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _clean(value: dict[str, Any]) -> dict[str, Any]:
    clean = redact_tree(value)
    assert isinstance(clean, dict), "an object stays an object"  # noqa: S101
    return clean


def _not_found(job_id: str) -> JobNotFound:
    return JobNotFound(f"no job {job_id!r} in this home. `finetune jobs ls` lists them.", sent=False)


def _get(db: sqlite3.Connection, job_id: str) -> JobRecord:
    row = db.execute("SELECT * FROM job WHERE id = ?", (job_id,)).fetchone()
    if row is None:
        raise _not_found(job_id)
    return from_row(row)


def _insert(db: sqlite3.Connection, record: JobRecord) -> None:
    values = ", ".join(f":{name}" for name in COLUMNS)
    db.execute(f"INSERT INTO job ({', '.join(COLUMNS)}) VALUES ({values})", to_row(record))  # noqa: S608 - our own names


def _update(db: sqlite3.Connection, record: JobRecord, *, reopens: bool) -> bool:
    """False when the row is terminal and would get another status."""
    sets = ", ".join(f"{name} = :{name}" for name in COLUMNS if name != "id")
    guard = "" if reopens else f" AND (status NOT IN ({_TERMINAL}) OR status = :status)"
    return db.execute(f"UPDATE job SET {sets} WHERE id = :id{guard}", to_row(record)).rowcount == 1  # noqa: S608
