"""How a job's row moves on: what the job store says becomes what clients see, each step in one transaction."""

from __future__ import annotations

import csv
import hashlib
import io
import shutil
import sqlite3
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import anyio.to_thread
import msgspec

from finetune_sdk._document import is_mapping
from finetune_sdk._records import JobRecord
from finetune_sdk.gateway.files import add_file, file_path
from finetune_sdk.gateway.mapping import status_word
from finetune_sdk.gateway.outbox import post
from finetune_sdk.gateway.records import Job
from finetune_sdk.gateway.service import Service
from finetune_sdk.gateway.state import new_id
from finetune_sdk.job import AsyncFineTuneJob
from finetune_sdk.redact import redact
from finetune_sdk.types import Event, JobStatus

_ENDS = {
    "succeeded": ("info", "The job has successfully completed"),
    "failed": ("error", "The job failed"),
    "cancelled": ("info", "The job was cancelled"),
}


def note(db: sqlite3.Connection, job: str, message: str, *, level: str = "info", last: bool = False) -> None:
    """Add a line to what is told about a job; `last` = after its own events."""
    query = "INSERT INTO note VALUES (?, (SELECT coalesce(max(seq), 0) + 1 FROM note WHERE job = ?), ?, ?, ?, ?)"
    db.execute(query, (job, job, int(time.time()), level, redact(message), int(last)))


def stopped(
    gateway: Service, db: sqlite3.Connection, job: Job, status: str, error: dict[str, str | None] | None
) -> bool:
    """A job's end: its row, its last notes, its webhooks. False when it had ended already."""
    told = None if error is None else msgspec.json.encode({**error, "message": redact(error["message"] or "")}).decode()
    query = (
        "UPDATE job SET phase = 'over', status = ?, error = ?, finished_at = ?, intent = NULL "
        "WHERE id = ? AND phase != 'over'"
    )
    if db.execute(query, (status, told, int(time.time()), job.id)).rowcount == 0:
        return False
    level, message = _ENDS[status]
    if error is not None:
        message = f"{message}: {error['message']}"
    if status == "succeeded":
        note(db, job.id, f"New fine-tuned model created: {job.tuned}", last=True)
    note(db, job.id, message, level=level, last=True)
    post(db, gateway.config, job.id, status)
    return True


async def follow_up(gateway: Service, job: Job, record: JobRecord | None = None) -> None:
    """Bring a job's row up to what its record says; None = ask the provider first."""
    assert job.job_id is not None, "the store has it"  # noqa: S101
    if record is None:
        record = await AsyncFineTuneJob(job.job_id, gateway.home).refresh()
    await anyio.to_thread.run_sync(partial(observe, gateway, job, record))


def observe(gateway: Service, job: Job, record: JobRecord) -> None:
    """Store what a record says about a job. What is no news writes nothing; a job to be resumed stays `queued`."""
    if gateway.state.read("SELECT 1 FROM job WHERE id = ? AND intent = 'resume'", job.id):
        return
    _settle(gateway, job, record)
    status = status_word(record)
    tokens = record.usage.trained_tokens if record.usage is not None else None
    if record.status.terminal and record.intent is None:
        _end(gateway, job, record, status, tokens)
        return
    if (status, tokens or job.trained_tokens) == (job.status, job.trained_tokens):
        return
    started = int(time.time()) if status == "running" else None
    query = (
        "UPDATE job SET status = ?, trained_tokens = coalesce(?, trained_tokens), "
        "started_at = coalesce(started_at, ?) WHERE id = ? AND phase = 'live'"
    )
    gateway.state.change(query, status, tokens, started, job.id)


def _settle(gateway: Service, job: Job, record: JobRecord) -> None:
    """Note once what the backend's plan made of hyperparameters that were left open. A vendor's plan does not say."""
    training = _part(_part(record.plan, "request"), "training")
    epochs, batch = training.get("epochs"), training.get("batch_size")
    if job.settled is not None or not isinstance(epochs, int | float) or not isinstance(batch, int):
        return
    found = {"batch_size": batch, "learning_rate_multiplier": 1, "n_epochs": int(epochs)}
    if epochs != int(epochs):  # a part of an epoch cannot be said in OpenAI's words
        del found["n_epochs"]
    query = "UPDATE job SET settled = ? WHERE id = ? AND settled IS NULL"
    gateway.state.change(query, msgspec.json.encode(found).decode(), job.id)


def _part(of: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found: Any = of.get(name)
    return found if is_mapping(found) else {}


def _end(gateway: Service, job: Job, record: JobRecord, status: str, tokens: int | None) -> None:
    error = None
    if record.status is JobStatus.FAILED:
        error = {"code": "job_failed", "message": record.error, "param": None}
    results = _results(gateway, job, record) if record.status is JobStatus.SUCCEEDED else None
    tuned = _hosted_name(job, record)

    def end(db: sqlite3.Connection) -> bool:
        if tuned is not None:
            db.execute("UPDATE job SET tuned = ? WHERE id = ? AND phase != 'over'", (tuned, job.id))
        values = (results, tokens, job.id)
        query = (
            "UPDATE job SET result_file = ?, trained_tokens = coalesce(?, trained_tokens) "
            "WHERE id = ? AND phase != 'over'"
        )
        db.execute(query, values)
        return stopped(gateway, db, job, status, error)

    if not gateway.state.write(end) and results is not None:  # another server was quicker
        gateway.state.change("DELETE FROM file WHERE id = ?", results)
        file_path(gateway.state, results).unlink(missing_ok=True)
    if status == "succeeded":
        shutil.rmtree(gateway.state.folder / "jobs" / job.id, ignore_errors=True)


def _hosted_name(job: Job, record: JobRecord) -> str | None:
    """A hosted model keeps the name that its vendor gave it; a local one gets OpenAI's pattern from us."""
    return record.model if not job.local and record.status is JobStatus.SUCCEEDED and record.model else None


def _results(gateway: Service, job: Job, record: JobRecord) -> str:
    """The file with a job's metrics by step, as CSV."""
    text = results_csv(gateway.store.events(record.id)).encode()
    path = gateway.state.folder / "incoming" / new_id("incoming-")
    path.write_bytes(text)
    name = f"{job.id}-results.csv"
    return add_file(gateway.state, path, name, "fine-tune-results", hashlib.sha256(text).hexdigest(), None)


def results_csv(events: Sequence[Event]) -> str:
    """OpenAI's columns, a row for each step that has numbers."""
    columns = {
        "loss": "train_loss",
        "mean_token_accuracy": "train_accuracy",
        "eval_loss": "valid_loss",
        "eval_mean_token_accuracy": "valid_mean_token_accuracy",
    }
    rows: dict[int, dict[str, float]] = {}
    for event in events:
        if event.step is not None:
            found = {columns[name]: value for name, value in event.metrics.items() if name in columns}
            if found:
                rows.setdefault(event.step, {}).update(found)
    out = io.StringIO()
    names = ("step", *columns.values())
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([step, *(row.get(name, "") for name in names[1:])] for step, row in sorted(rows.items()))
    return out.getvalue()
