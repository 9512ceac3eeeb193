"""The event table: appended only, idempotent by cursor, ordered by arrival. Works inside a caller's transaction."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime
from typing import Literal

from finetune_sdk._records import event_from_row
from finetune_sdk.errors import SpecError
from finetune_sdk.redact import redact
from finetune_sdk.types import Event, Level

_OURS = "sdk-"


def append(db: sqlite3.Connection, job_id: str, event: Event, *, origin: Literal["provider", "sdk"]) -> None:
    """Add an event; one with a cursor that is there already changes nothing."""
    db.execute(
        "INSERT OR IGNORE INTO event (job_id, seq, cursor, origin, at, level, message, step, metrics) VALUES "
        "(?, (SELECT coalesce(max(seq), 0) + 1 FROM event WHERE job_id = ?), ?, ?, ?, ?, ?, ?, ?)",
        (
            job_id, job_id, event.cursor, origin, event.at.isoformat(), event.level, redact(event.message),
            event.step, json.dumps(dict(event.metrics)),
        ),
    )  # fmt: skip


def note(db: sqlite3.Connection, job_id: str, level: Level, message: str) -> None:
    """Add an event of our own, unless the last one of ours says the same."""
    query = "SELECT cursor, message FROM event WHERE job_id = ? AND origin = 'sdk' ORDER BY seq DESC LIMIT 1"
    last = db.execute(query, (job_id,)).fetchone()
    if last is not None and last["message"] == redact(message):
        return
    number = 1 if last is None else int(last["cursor"].removeprefix(_OURS)) + 1
    event = Event(cursor=f"{_OURS}{number:06d}", at=datetime.now(UTC), level=level, message=message)
    append(db, job_id, event, origin="sdk")


def read(db: sqlite3.Connection, job_id: str, after: str | None) -> list[Event]:
    """The events after a cursor, all for None. Raises `SpecError` for a cursor never given."""
    seq = -1
    if after is not None:
        row = db.execute("SELECT seq FROM event WHERE job_id = ? AND cursor = ?", (job_id, after)).fetchone()
        if row is None:
            raise SpecError(f"job {job_id} has no event with cursor {after!r}")
        seq = row["seq"]
    rows = db.execute("SELECT * FROM event WHERE job_id = ? AND seq > ? ORDER BY seq", (job_id, seq))
    return [event_from_row(row) for row in rows]


def last_provider_cursor(db: sqlite3.Connection, job_id: str) -> str | None:
    """The cursor of the last event that came from the provider."""
    query = "SELECT cursor FROM event WHERE job_id = ? AND origin = 'provider' ORDER BY seq DESC LIMIT 1"
    row = db.execute(query, (job_id,)).fetchone()
    return None if row is None else str(row["cursor"])
