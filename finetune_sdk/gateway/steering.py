"""`/fine_tuning/jobs/{id}/cancel`, `/pause` and `/resume`."""

from __future__ import annotations

import sqlite3
from typing import Literal

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response

from finetune_sdk.errors import WrongStatus
from finetune_sdk.gateway.errors import ApiError
from finetune_sdk.gateway.jobs import asked_for, find_job, told, unpin
from finetune_sdk.gateway.mapping import WORDS
from finetune_sdk.gateway.records import Job
from finetune_sdk.gateway.service import Service, json_response, service
from finetune_sdk.gateway.turns import follow_up, stopped
from finetune_sdk.job import AsyncFineTuneJob
from finetune_sdk.types import JobStatus

_STOP_S = 10.0
"""How long `cancel` and `pause` wait for the backend to have stopped, so that the answer can say so."""
_TICK_S = 0.3
_RESUMABLE = (JobStatus.PAUSED, JobStatus.FAILED, JobStatus.CANCELLED)

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
    gateway, job = service(request), asked_for(request)
    if job.phase == "over" and verb != "resume":
        text = f"The job has already {job.status}." if job.status != "cancelled" else "The job was cancelled already."
        raise ApiError(400, text, code="invalid_job_state")
    if job.job_id is None:
        await anyio.to_thread.run_sync(_ask_waiting, gateway, job, verb)
        gateway.wake.set()
    else:
        await _ask_live(gateway, job, job.job_id, verb)
    return json_response(told(gateway, find_job(gateway.state, job.id)))


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
    if find_job(gateway.state, job.id).phase == "over":
        unpin(gateway.state, job.id)


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
