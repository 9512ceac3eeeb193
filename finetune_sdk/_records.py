"""`JobRecord`: what the store knows about a job; as a row of the table and as the job folder's `job.json`."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from finetune_sdk.spec import JobSpec
from finetune_sdk.types import Event, JobStatus, Usage

Intent = Literal["cancel", "pause", "resume"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """What the store knows about a job. Secrets were taken out before it was stored."""

    id: str
    provider: str
    spec: Mapping[str, Any]
    """The job description as JSON; `job_spec` reads it."""
    spec_sha256: str
    plan: Mapping[str, Any]
    ref: str | None = None
    """The provider's name for the job; None until it has accepted it."""
    status: JobStatus = JobStatus.PREPARING
    raw_status: str | None = None
    """The provider's own word, verbatim."""
    error: str | None = None
    model: str | None = None
    usage: Usage | None = None
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    attempt: int = 1
    """1, and one more for every resume of a job that had ended."""
    intent: Intent | None = None
    """What the user has asked for and the provider has not yet been told."""
    held: bool = False
    """Whether it rests once PAUSED, until somebody resumes it. False = the provider paused it and goes on by itself."""
    doubt: str | None = None
    """Set while nobody knows whether the provider has the job: what happened, and what to do."""
    submitter: str | None = None
    """The process that is submitting; None once that is over, one way or the other."""
    created_at: datetime
    updated_at: datetime

    def __repr__(self) -> str:
        """Short: every verb answers with a record, and the whole of spec and plan would flood a screen."""
        facts = (self.id, self.provider, str(self.status), self.error, self.doubt, self.model)
        return f"JobRecord({', '.join(str(fact) for fact in facts if fact is not None)})"

    @property
    def job_spec(self) -> JobSpec:
        """The job description, typed."""
        return JobSpec.model_validate(self.spec)


_JSON_COLUMNS = ("spec", "plan", "usage", "metrics")
COLUMNS = tuple(JobRecord.__dataclass_fields__)


def to_row(record: JobRecord) -> dict[str, Any]:
    """The record as column values."""
    plain: dict[str, Any] = msgspec.to_builtins(record)
    for name in _JSON_COLUMNS:
        plain[name] = None if plain[name] is None else json.dumps(plain[name], ensure_ascii=False)
    return plain


def from_row(row: sqlite3.Row) -> JobRecord:
    """The record behind a row."""
    plain: dict[str, Any] = dict(row)
    for name in _JSON_COLUMNS:
        plain[name] = None if plain[name] is None else json.loads(plain[name])
    plain["held"] = bool(plain["held"])  # SQLite has no booleans
    return msgspec.convert(plain, JobRecord)


def event_from_row(row: sqlite3.Row) -> Event:
    """The event behind a row."""
    return Event(
        cursor=row["cursor"],
        at=datetime.fromisoformat(row["at"]),
        level=row["level"],
        message=row["message"],
        step=row["step"],
        metrics=json.loads(row["metrics"]),
    )


def write_record(record: JobRecord, folder: Path) -> None:
    """`job.json` in the job's folder, replaced in one go and on the disk when this returns."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = folder / "job.json.part"
    with part.open("wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(record), indent=1))
        file.flush()
        os.fsync(file.fileno())
    part.replace(folder / "job.json")
    _sync_folder(folder)


def read_record(file: Path) -> JobRecord:
    """The record in a `job.json`. Raises `msgspec.DecodeError` (of which a wrong shape is one) or `OSError`."""
    return msgspec.json.decode(file.read_bytes(), type=JobRecord)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
