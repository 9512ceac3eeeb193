"""`/fine_tuning/jobs/{id}/events` and `/checkpoints`: what is to be told about a job."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from finetune_sdk.gateway.bodies import whole
from finetune_sdk.gateway.errors import ApiError
from finetune_sdk.gateway.jobs import asked_for, find_job
from finetune_sdk.gateway.records import Job, checkpoint_object, event_object
from finetune_sdk.gateway.service import Service, json_response, service
from finetune_sdk.gateway.turns import follow_up
from finetune_sdk.job import AsyncFineTuneJob
from finetune_sdk.types import Event

_TICK_S = 0.3


async def list_events(request: Request) -> Response:
    """`GET .../events`, newest first; with `stream=true` as server-sent events, oldest first, until the job ends."""
    job = asked_for(request)
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
    gateway, job, limit = service(request), asked_for(request), whole(request, "limit", 10, 1000)
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
