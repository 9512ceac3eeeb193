"""The gateway's rows as OpenAI's objects."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from finetune_sdk.types import Checkpoint, Event

Json = dict[str, Any]
_LEVELS = {"debug": "info", "info": "info", "warning": "warn", "error": "error"}
_METRICS = {
    "loss": "train_loss",
    "eval_loss": "valid_loss",
    "mean_token_accuracy": "train_mean_token_accuracy",
    "eval_mean_token_accuracy": "valid_mean_token_accuracy",
}
"""Our metric names that have one of OpenAI's; the others keep theirs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A row of `job`: what was asked for, which job of the store does it, and how that stood when last looked at."""

    seq: int
    id: str
    phase: str
    """new (to be validated), ready (waits for its turn), starting (being submitted), live (the store has it), over."""
    status: str
    """OpenAI's word."""
    provider: str
    local: int
    owner: str
    model: str
    tuned: str
    training_file: str
    validation_file: str | None
    request: str
    request_sha256: str
    spec: str
    metadata: str
    seed: int
    job_id: str | None
    intent: str | None
    error: str | None
    trained_tokens: int | None
    settled: str | None
    """What the hyperparameters that were left open came to; None = nobody has said so yet."""
    result_file: str | None
    deleted: int
    created_at: int
    started_at: int | None
    finished_at: int | None

    @property
    def asked(self) -> Json:
        """The request as it came."""
        asked: Json = msgspec.json.decode(self.request)
        return asked


def job_of(row: sqlite3.Row) -> Job:
    """The job behind a row."""
    return Job(**dict(row))


def job_object(job: Job, *, estimate: int | None = None) -> Json:
    """A `fine_tuning.job`; `estimate` = when it will probably have ended."""
    asked = job.asked
    method = _method(asked)
    settled: Json = {} if job.settled is None else msgspec.json.decode(job.settled)
    _settle(method[method["type"]]["hyperparameters"], settled)
    return {
        "object": "fine_tuning.job",
        "id": job.id,
        "created_at": job.created_at,
        "error": None if job.error is None else msgspec.json.decode(job.error),
        "estimated_finish": estimate,
        "fine_tuned_model": job.tuned if job.status == "succeeded" else None,
        "finished_at": job.finished_at,
        "hyperparameters": _hyperparameters(method[method["type"]], settled),
        "integrations": asked.get("integrations") or [],
        "metadata": msgspec.json.decode(job.metadata),
        "method": method,
        "model": job.model,
        "organization_id": "org-local",
        "result_files": [] if job.result_file is None else [job.result_file],
        "seed": job.seed,
        "status": job.status,
        "trained_tokens": job.trained_tokens,
        "training_file": job.training_file,
        "user_provided_suffix": asked.get("suffix"),
        "validation_file": job.validation_file,
    }


def _method(asked: Mapping[str, Any]) -> Json:
    method: Json | None = asked.get("method")
    if method:
        name = method["type"]
        part: Json = method.get(name) or {}
        return {"type": name, name: {**part, "hyperparameters": dict(part.get("hyperparameters") or {})}}
    return {"type": "supervised", "supervised": {"hyperparameters": dict(asked.get("hyperparameters") or {})}}


def _settle(given: Json, settled: Mapping[str, Any]) -> None:
    """Put what an "auto" came to in its place, in the request's own hyperparameters."""
    given.update({name: value for name, value in settled.items() if given.get(name, "auto") == "auto"})


def _hyperparameters(part: Mapping[str, Any], settled: Mapping[str, Any]) -> Json:
    given: Mapping[str, Any] = {**settled, **part["hyperparameters"]}
    return {name: given.get(name, "auto") for name in ("batch_size", "learning_rate_multiplier", "n_epochs")}


def file_object(row: sqlite3.Row) -> Json:
    """A `file`."""
    found = {name: row[name] for name in ("id", "bytes", "created_at", "filename", "purpose")}
    if row["expires_at"] is not None:
        found["expires_at"] = row["expires_at"]
    return {"object": "file", **found, "status": "processed"}


def upload_object(row: sqlite3.Row, file: sqlite3.Row | None) -> Json:
    """An `upload`, with its file once it is completed."""
    names = ("id", "bytes", "created_at", "filename", "purpose", "expires_at")
    status = "pending" if row["status"] == "completing" else row["status"]
    found = {"object": "upload", **{name: row[name] for name in names}, "status": status, "file": None}
    return found if file is None else {**found, "file": file_object(file)}


def event_object(job: Job, event: Event) -> Json:
    """A `fine_tuning.job.event`; its id is unique among all jobs."""
    metrics = {_METRICS.get(name, name): value for name, value in event.metrics.items()}
    if event.step is not None and metrics:
        metrics = {"step": event.step, **metrics}
    return {
        "object": "fine_tuning.job.event",
        "id": f"ftevent-{job.id.removeprefix('ftjob-')}-{event.cursor}",
        "created_at": int(event.at.timestamp()),
        "level": _LEVELS[event.level],
        "message": event.message,
        "type": "metrics" if metrics else "message",
        "data": metrics,
    }


def checkpoint_object(job: Job, one: Checkpoint, events: Sequence[Event]) -> Json:
    """A `fine_tuning.job.checkpoint`."""
    at = next((event.at for event in events if event.step is not None and event.step >= one.step), None)
    metrics = {_METRICS.get(name, name): value for name, value in one.metrics.items()}
    digest = hashlib.sha256(f"{job.id}/{one.step}".encode()).hexdigest()[:24]
    return {
        "object": "fine_tuning.job.checkpoint",
        "id": f"ftckpt-{digest}",
        "created_at": job.created_at if at is None else int(at.timestamp()),
        "fine_tuned_model_checkpoint": f"{job.tuned}:ckpt-step-{one.step}",
        "fine_tuning_job_id": job.id,
        "metrics": {"step": one.step, **metrics},
        "step_number": one.step,
    }
