"""`/fine_tuning/jobs`: what clients ask; what then happens by itself is `queue`'s."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import sqlite3
import time
from pathlib import Path
from typing import Any

import anyio.to_thread
import msgspec
from starlette.requests import Request
from starlette.responses import Response

from finetune_sdk.gateway import once
from finetune_sdk.gateway.bodies import CreateJob, parse, read_json, whole
from finetune_sdk.gateway.config import Backend
from finetune_sdk.gateway.errors import ApiError
from finetune_sdk.gateway.files import file_path, find_file
from finetune_sdk.gateway.mapping import spec_of
from finetune_sdk.gateway.records import Job, job_object, job_of
from finetune_sdk.gateway.service import Service, json_response, service
from finetune_sdk.gateway.state import State, new_id
from finetune_sdk.gateway.turns import note
from finetune_sdk.provider import Provider
from finetune_sdk.registry import load

_METADATA = re.compile(r"metadata\[([^][]+)\]")
_UNNAMED = re.compile(r"[^\w.-]+", re.ASCII)
"""What a suffix may hold and a model's name may not: names are parts of addresses."""


# --- create ---------------------------------------------------------------------------------------------------------


async def create_job(request: Request) -> Response:
    """`POST /fine_tuning/jobs`. Repeated with the same Idempotency-Key, or equal and soon, it makes one job."""
    gateway = service(request)
    value = await read_json(request, gateway.config.json_bytes)
    body = parse(CreateJob, value)
    job, repeated = await anyio.to_thread.run_sync(_create, gateway, request, value, body)
    gateway.wake.set()
    answer = json_response(job_object(job))
    if repeated:
        answer.headers["x-finetune-repeated"] = "true"
    return answer


def _create(gateway: Service, request: Request, value: Any, body: CreateJob) -> tuple[Job, bool]:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    mark, owner = once.Mark.of(request, text.encode()), str(request.scope["owner"])
    job_id, now = new_id("ftjob-"), int(time.time())
    made, inserted = _row(gateway, body, job_id, owner), False
    digest = hashlib.sha256(f"{owner}\n{text}".encode()).hexdigest()
    made |= {"request": text, "request_sha256": digest, "created_at": now}

    def insert(db: sqlite3.Connection) -> str:
        nonlocal inserted
        before = once.known(db, mark) if mark is not None else _equal(db, digest, now - gateway.config.deduplicate_s)
        if before is not None:
            return before
        for file_id in (body.training_file, body.validation_file):
            if file_id is not None and not db.execute("SELECT 1 FROM file WHERE id = ?", (file_id,)).fetchone():
                raise _no_file(file_id, body)
        names = ", ".join(made)
        db.execute(f"INSERT INTO job ({names}) VALUES ({', '.join('?' * len(made))})", tuple(made.values()))  # noqa: S608 - our own names
        note(db, job_id, f"Created fine-tuning job: {job_id}")
        note(db, job_id, f"Validating training file: {body.training_file}")
        if isinstance(body.trainingType, int) and not made["local"]:
            text = f"trainingType {body.trainingType} is not passed on: write its name, such as GlobalStandard"
            note(db, job_id, text, level="warning")
        if mark is not None:
            once.note(db, mark, job_id)
        inserted = True
        return job_id

    _pin(gateway.state, job_id, made)
    try:
        return find_job(gateway.state, gateway.state.write(insert)), not inserted
    finally:
        if not inserted:
            unpin(gateway.state, job_id)


def _equal(db: sqlite3.Connection, digest: str, since: float) -> str | None:
    """An equal request's job, if it was made recently and has not failed."""
    query = (
        "SELECT id FROM job WHERE request_sha256 = ? AND created_at > ? AND status NOT IN ('failed', 'cancelled') "
        "ORDER BY seq DESC"
    )
    row = db.execute(query, (digest, since)).fetchone()
    return None if row is None else str(row["id"])


def _row(gateway: Service, body: CreateJob, job_id: str, owner: str) -> dict[str, Any]:
    """The columns of a new job. Raises for whatever can be known to be wrong without reading the data."""
    config = gateway.config
    provider, base = _backend(gateway, body.model, owner)
    local = gateway.is_local(provider)
    for file_id in (body.training_file, body.validation_file):
        if file_id is not None:
            _usable(gateway.state, file_id, body)
    if local and not config.python_graders and '"type":"python"' in body.model_dump_json():
        text = "Python graders are turned off here; the gateway's owner may set `python_graders: true`."
        raise ApiError(400, text, param="method.reinforcement.grader", code="python_graders_disabled")
    seed = secrets.randbelow(2**31) if body.seed is None else body.seed
    train = _pinned(gateway.state, job_id, "training", body.training_file)
    validation = body.validation_file and _pinned(gateway.state, job_id, "validation", body.validation_file)
    if local:
        _reported(body)
    backend = _loaded(gateway, provider)
    spec = spec_of(
        body,
        provider=provider,
        base=base,
        train=train,
        validation=validation,
        seed=seed,
        defaults=config.backends.get(provider, Backend()),
        capabilities=backend.capabilities,
        local=local,
    )
    backend.check(spec)
    short = job_id.removeprefix("ftjob-")[:8]
    return {
        "id": job_id,
        "phase": "new",
        "status": "validating_files",
        "provider": provider,
        "local": int(local),
        "owner": owner,
        "model": body.model,
        "tuned": f"ft:{body.model}:{config.organization}:{_UNNAMED.sub('-', body.suffix or '')}:{short}",
        "training_file": body.training_file,
        "validation_file": body.validation_file,
        "spec": spec.model_dump_json(),
        "metadata": json.dumps(body.metadata or {}, ensure_ascii=False),
        "seed": seed,
    }


def _backend(gateway: Service, model: str, owner: str) -> tuple[str, str]:
    """Which backend trains this, and what that calls the model."""
    provider = gateway.config.backend_for(model, owner)
    base = gateway.config.base_model(model, provider, local=gateway.is_local(provider))
    if base is None:
        raise unknown_model(gateway, model)
    return provider, base


def unknown_model(gateway: Service, model: str) -> ApiError:
    """404 that says which names there are."""
    names = (
        ", ".join(list(gateway.config.models)[:10]) or "none; map one under `models:` in the gateway's configuration"
    )
    text = f"The model {model[:200]!r} does not exist here. Mapped names: {names}."
    return ApiError(404, text, param="model", code="model_not_found")


def _reported(body: CreateJob) -> None:
    """A job on this machine reports to the project that the server's variables name: another one is refused."""
    project, entity = os.environ.get("WANDB_PROJECT", "huggingface"), os.environ.get("WANDB_ENTITY")
    for one in body.integrations or ():
        if one.wandb.model_dump(exclude_defaults=True) not in (
            {"project": project},
            {"project": project, "entity": entity},
        ):
            text = (
                f"Jobs on this machine report to the project {project!r} (the server's WANDB_PROJECT), "
                "without a name or tags. Ask for that, or leave `integrations` out."
            )
            raise ApiError(400, text, param="integrations", code="unsupported")


def _loaded(gateway: Service, provider: str) -> Provider:
    return load(provider, home=gateway.home)


def _usable(state: State, file_id: str, body: CreateJob) -> None:
    try:
        row = find_file(state, file_id)
    except ApiError:
        raise _no_file(file_id, body) from None
    if row["purpose"] != "fine-tune":
        text = f"The file {file_id!r} has the purpose {row['purpose']!r}; 'fine-tune' is needed."
        raise ApiError(400, text, param=_place(file_id, body), code="invalid_file_purpose")


def _no_file(file_id: str, body: CreateJob) -> ApiError:
    text = f"No such File object: {file_id[:200]!r}."
    return ApiError(400, text, param=_place(file_id, body), code="file_not_found")


def _place(file_id: str, body: CreateJob) -> str:
    return "training_file" if file_id == body.training_file else "validation_file"


def _pinned(state: State, job_id: str, role: str, file_id: str) -> str:
    """Where the job's own name for a file's bytes lies. That path marks the job in the store as this one's."""
    name = find_file(state, file_id)["filename"]
    return str(state.folder / "jobs" / job_id / f"{role}-{name}")


def _pin(state: State, job_id: str, row: dict[str, Any]) -> None:
    """Give the job names of its own for its files' bytes: they stay what they were, whatever becomes of the file."""
    spec: Any = msgspec.json.decode(row["spec"])
    (state.folder / "jobs" / job_id).mkdir(mode=0o700)
    for role, file_id in (("train", row["training_file"]), ("validation", row["validation_file"])):
        if file_id is not None:
            source = file_path(state, file_id)
            try:
                Path(spec["data"][role]).hardlink_to(source)
            except FileNotFoundError:
                raise ApiError(400, f"No such File object: {file_id!r}.", code="file_not_found") from None


def unpin(state: State, job_id: str) -> None:
    """Let go of a job's files: what was deleted meanwhile takes no more room on the disk."""
    shutil.rmtree(state.folder / "jobs" / job_id, ignore_errors=True)


# --- look -----------------------------------------------------------------------------------------------------------


def find_job(state: State, job_id: str) -> Job:
    """The job with this id. Raises 404."""
    rows = state.read("SELECT * FROM job WHERE id = ?", job_id)
    if not rows:
        text = f"Could not find fine tune: {job_id[:200]}"
        raise ApiError(404, text, param="fine_tune_id", code="fine_tune_not_found")
    return job_of(rows[0])


def asked_for(request: Request) -> Job:
    """The job that a request's path names. Raises 404."""
    return find_job(service(request).state, request.path_params["job_id"])


def told(gateway: Service, job: Job) -> dict[str, Any]:
    """The job's object; while it runs, with the time at which it will probably have ended."""
    return job_object(job, estimate=gateway.estimates.get(job.id) if job.status == "running" else None)


async def retrieve_job(request: Request) -> Response:
    """`GET /fine_tuning/jobs/{id}`."""
    return json_response(told(service(request), asked_for(request)))


async def list_jobs(request: Request) -> Response:
    """`GET /fine_tuning/jobs`, newest first, by cursor and metadata."""
    state, limit = service(request).state, whole(request, "limit", 20, 1000)
    wheres: list[str] = []
    values: list[object] = []
    if after := request.query_params.get("after"):
        found = state.read("SELECT seq FROM job WHERE id = ?", after)
        if not found:
            raise ApiError(400, f"Invalid after: no job {after[:200]!r}.", param="after")
        wheres, values = ["seq < ?"], [found[0]["seq"]]
    for name, value in request.query_params.multi_items():
        if name == "metadata":
            if value != "null":
                raise ApiError(400, "Invalid metadata: write metadata[key]=value, or metadata=null.", param=name)
            wheres.append("metadata = '{}'")
        elif key := _METADATA.fullmatch(name):
            if value == "null":  # what clients make of a value that is none
                raise ApiError(400, f"Invalid {name}: a text is expected.", param="metadata")
            wheres.append("EXISTS (SELECT 1 FROM json_each(metadata) WHERE key = ? AND value = ?)")
            values += [key[1], value]
        elif name.startswith("metadata["):
            raise ApiError(400, "Invalid metadata: write metadata[key]=value, one level deep.", param="metadata")
    where = f"WHERE {' AND '.join(wheres)}" if wheres else ""
    rows = state.read(f"SELECT * FROM job {where} ORDER BY seq DESC LIMIT ?", *values, limit + 1)  # noqa: S608 - fixed texts
    data = [told(service(request), job_of(row)) for row in rows[:limit]]
    return json_response({"object": "list", "data": data, "has_more": len(rows) > limit})
