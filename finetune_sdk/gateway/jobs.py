"""`/fine_tuning/jobs`: what clients ask; what then happens by itself is `queue`'s."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

import anyio
import anyio.to_thread
import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from finetune_sdk.errors import WrongStatus
from finetune_sdk.gateway import once
from finetune_sdk.gateway.bodies import CreateJob, parse, read_json, whole
from finetune_sdk.gateway.config import Backend
from finetune_sdk.gateway.errors import ApiError, not_found
from finetune_sdk.gateway.files import file_path, find_file
from finetune_sdk.gateway.mapping import WORDS, spec_of
from finetune_sdk.gateway.records import Job, checkpoint_object, event_object, job_object, job_of
from finetune_sdk.gateway.service import Service, json_response, service
from finetune_sdk.gateway.state import State, new_id
from finetune_sdk.gateway.turns import follow_up, note, stopped
from finetune_sdk.job import AsyncFineTuneJob
from finetune_sdk.provider import Provider
from finetune_sdk.registry import load
from finetune_sdk.types import Event, JobStatus

_METADATA = re.compile(r"metadata\[([^][]+)\]")
_STOP_S = 10.0
"""How long `cancel` and `pause` wait for the backend to have stopped, so that the answer can say so."""
_TICK_S = 0.3
_RESUMABLE = (JobStatus.PAUSED, JobStatus.FAILED, JobStatus.CANCELLED)


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
        if mark is not None:
            once.note(db, mark, job_id)
        inserted = True
        return job_id

    _pin(gateway.state, job_id, made)
    try:
        return find_job(gateway.state, gateway.state.write(insert)), not inserted
    finally:
        if not inserted:
            _unpin(gateway.state, job_id)


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
        "tuned": f"ft:{body.model}:{config.organization}:{body.suffix or ''}:{short}",
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


def _unpin(state: State, job_id: str) -> None:
    shutil.rmtree(state.folder / "jobs" / job_id, ignore_errors=True)


# --- look -----------------------------------------------------------------------------------------------------------


def find_job(state: State, job_id: str) -> Job:
    """The job with this id. Raises 404."""
    rows = state.read("SELECT * FROM job WHERE id = ?", job_id)
    if not rows:
        raise not_found("fine-tuning job", job_id)
    return job_of(rows[0])


def _asked_for(request: Request) -> Job:
    return find_job(service(request).state, request.path_params["job_id"])


async def retrieve_job(request: Request) -> Response:
    """`GET /fine_tuning/jobs/{id}`."""
    return json_response(job_object(_asked_for(request)))


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
    data = [job_object(job_of(row)) for row in rows[:limit]]
    return json_response({"object": "list", "data": data, "has_more": len(rows) > limit})


# --- events and checkpoints -----------------------------------------------------------------------------------------


async def list_events(request: Request) -> Response:
    """`GET .../events`, newest first; with `stream=true` as server-sent events, oldest first, until the job ends."""
    job = _asked_for(request)
    if request.query_params.get("stream", "").lower() == "true":
        after = request.headers.get("last-event-id") or request.query_params.get("after")
        return StreamingResponse(_stream(service(request), job, after), media_type="text/event-stream")
    limit = whole(request, "limit", 20, 1000)
    found = await _events(service(request), job)
    found.reverse()
    data = [event_object(job, event) for event in found]
    return json_response(_page(data, request.query_params.get("after"), limit))


async def list_checkpoints(request: Request) -> Response:
    """`GET .../checkpoints`, newest first."""
    gateway, job, limit = service(request), _asked_for(request), whole(request, "limit", 10, 1000)
    data: list[dict[str, Any]] = []
    if job.job_id is not None:
        found = await AsyncFineTuneJob(job.job_id, gateway.home).checkpoints()
        events = await _events(gateway, job) if found else []
        data = [checkpoint_object(job, one, events) for one in reversed(found)]
    page = _page(data, request.query_params.get("after"), limit)
    ends = {"first_id": None, "last_id": None}
    if page["data"]:
        ends = {"first_id": page["data"][0]["id"], "last_id": page["data"][-1]["id"]}
    return json_response({**page, **ends})


def _page(data: Sequence[dict[str, Any]], after: str | None, limit: int) -> dict[str, Any]:
    start = 0
    if after:
        ids = [one["id"] for one in data]
        if after not in ids:
            raise ApiError(400, f"Invalid after: {after[:200]!r} is not in this list.", param="after")
        start = ids.index(after) + 1
    return {"object": "list", "data": list(data[start : start + limit]), "has_more": len(data) > start + limit}


async def _events(gateway: Service, job: Job) -> list[Event]:
    """All that is to be told about a job, oldest first: our notes before, the job's own, our notes after."""
    if job.job_id is not None and job.phase == "live":
        await follow_up(gateway, job)
    rows = gateway.state.read("SELECT * FROM note WHERE job = ? ORDER BY seq", job.id)
    notes = [(row["last"], _note_event(row)) for row in rows]
    own: list[Event] = []
    if job.job_id is not None:
        own = await anyio.to_thread.run_sync(partial(gateway.store.events, job.job_id))
    return [*(event for last, event in notes if not last), *own, *(event for last, event in notes if last)]


def _note_event(row: sqlite3.Row) -> Event:
    at = datetime.fromtimestamp(row["at"], UTC)
    return Event(cursor=f"gw-{row['seq']:04d}", at=at, level=row["level"], message=row["message"])


async def _stream(gateway: Service, job: Job, after: str | None) -> AsyncIterator[bytes]:
    seen = -1
    while True:
        job = find_job(gateway.state, job.id)
        objects = [event_object(job, event) for event in await _events(gateway, job)]
        if seen < 0 and after is not None:
            seen = next((index for index, one in enumerate(objects) if one["id"] == after), -1)
        for one in objects[seen + 1 :]:
            yield b"id: %b\ndata: %b\n\n" % (one["id"].encode(), msgspec.json.encode(one))
        seen = len(objects) - 1
        if job.phase == "over" or gateway.stopping.is_set():
            yield b"data: [DONE]\n\n"
            return
        yield b": still there\n\n"
        with anyio.move_on_after(_TICK_S):
            await gateway.stopping.wait()


# --- cancel, pause, resume ------------------------------------------------------------------------------------------

Verb = Literal["cancel", "pause", "resume"]


async def cancel_job(request: Request) -> Response:
    """`POST .../cancel`."""
    return await _ask(request, "cancel")


async def pause_job(request: Request) -> Response:
    """`POST .../pause`."""
    return await _ask(request, "pause")


async def resume_job(request: Request) -> Response:
    """`POST .../resume`."""
    return await _ask(request, "resume")


async def _ask(request: Request, verb: Verb) -> Response:
    gateway, job = service(request), _asked_for(request)
    if job.phase == "over" and verb != "resume":
        text = f"The job has already {job.status}." if job.status != "cancelled" else "The job was cancelled already."
        raise ApiError(400, text, code="invalid_job_state")
    if job.job_id is None:
        await anyio.to_thread.run_sync(_ask_waiting, gateway, job, verb)
        gateway.wake.set()
    else:
        await _ask_live(gateway, job, job.job_id, verb)
    return json_response(job_object(find_job(gateway.state, job.id)))


def _ask_waiting(gateway: Service, job: Job, verb: Verb) -> None:
    """A job that no backend has yet: it is cancelled at once, unless it is just being submitted."""
    if verb != "cancel":
        raise ApiError(400, f"The job is {job.status}; there is nothing to {verb}.", code="invalid_job_state")

    def cancel(db: sqlite3.Connection) -> None:
        row = db.execute("SELECT phase FROM job WHERE id = ?", (job.id,)).fetchone()
        if row["phase"] in ("new", "ready"):
            stopped(gateway, db, job, "cancelled", None)
        else:
            db.execute("UPDATE job SET intent = 'cancel' WHERE id = ?", (job.id,))

    gateway.state.write(cancel)


async def _ask_live(gateway: Service, job: Job, store_id: str, verb: Verb) -> None:
    handle = AsyncFineTuneJob(store_id, gateway.home)
    if verb == "resume":
        await _ask_to_resume(gateway, job, handle)
        return
    unasked = "UPDATE job SET intent = NULL WHERE id = ? AND intent = 'resume'"
    waited = await anyio.to_thread.run_sync(gateway.state.change, unasked, job.id)
    if waited and verb == "pause":  # it had not gone on yet
        await follow_up(gateway, job)
        return
    try:
        record = await getattr(handle, verb)()
    except WrongStatus as error:
        raise ApiError(400, str(error), code="invalid_job_state") from error
    wanted = {"cancel": JobStatus.CANCELLED, "pause": JobStatus.PAUSED}[verb]
    with anyio.move_on_after(_STOP_S):
        while record.status is not wanted and not record.status.terminal:
            await anyio.sleep(_TICK_S)
            record = await handle.refresh()
    await follow_up(gateway, job, record)


async def _ask_to_resume(gateway: Service, job: Job, handle: AsyncFineTuneJob) -> None:
    """The job is `queued` until there is a place for it; the queue resumes it then."""
    record = await handle.refresh()
    if job.intent != "resume" and record.status not in _RESUMABLE:
        text = f"The job is {WORDS[record.status]}: only a paused, failed or cancelled job can be resumed."
        raise ApiError(400, text, code="invalid_job_state")
    query = (
        "UPDATE job SET phase = 'live', status = 'queued', intent = 'resume', finished_at = NULL, error = NULL "
        "WHERE id = ?"
    )
    await anyio.to_thread.run_sync(gateway.state.change, query, job.id)
    gateway.wake.set()
