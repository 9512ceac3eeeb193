"""`/files`: bytes on the disk first, then the row that makes them a file."""

from __future__ import annotations

import logging
import re
import shutil
import sqlite3
import time
from pathlib import Path, PurePosixPath

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from finetune_sdk.gateway import once
from finetune_sdk.gateway.bodies import ExpiresAfter, parse, whole
from finetune_sdk.gateway.errors import ApiError, not_found
from finetune_sdk.gateway.multipart import Form, receive
from finetune_sdk.gateway.records import file_object
from finetune_sdk.gateway.service import Service, json_response, service
from finetune_sdk.gateway.state import State, new_id

log = logging.getLogger(__name__)

PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data")
"""Not `evals`: the contract takes it and then forbids it in the answer, and there is no Evals API here."""
_STALE_S = 24 * 3600
_UNSAFE = re.compile(r"[^\w.() +@-]|^\.+")


def file_path(state: State, file_id: str) -> Path:
    """Where a file's bytes lie. `file_id` must come from the store, never from a client."""
    return state.folder / "files" / file_id


def safe_name(name: str) -> str:
    """A client's file name as a name only: no folders, nothing hidden, nothing a shell or a page could trip over."""
    last = PurePosixPath(name.replace("\\", "/")).name
    return _UNSAFE.sub("_", last)[:200] or "upload"


# --- files ----------------------------------------------------------------------------------------------------------


async def create_file(request: Request) -> Response:
    """`POST /files`."""
    gateway = service(request)
    path = gateway.state.folder / "incoming" / new_id("incoming-")
    names = ("purpose", "expires_after")
    form = await receive(request, path, file_field="file", fields=names, most=gateway.config.file_bytes)
    try:
        keep_s = _checked(form)
        mark = once.Mark.of(request, f"{form.sha256}/{form.filename}/{form.fields}".encode())
        row = await anyio.to_thread.run_sync(_store_form, gateway.state, form, keep_s, mark)
    finally:
        path.unlink(missing_ok=True)
    return json_response(file_object(row))


def _checked(form: Form) -> int | None:
    """For how long the file is to be kept, None = for ever."""
    if form.filename is None:
        raise ApiError(
            400, "The form has no file in its field 'file'.", param="file", code="missing_required_parameter"
        )
    purpose = form.fields.get("purpose")
    if purpose is None:
        raise ApiError(400, "The form has no field 'purpose'.", param="purpose", code="missing_required_parameter")
    if purpose not in PURPOSES:
        raise ApiError(400, f"Unknown purpose {purpose[:60]!r}; there are: {', '.join(PURPOSES)}.", param="purpose")
    if form.bytes == 0:
        raise ApiError(400, "The file is empty.", param="file", code="empty_file")
    expires = {
        key.removeprefix("expires_after[").rstrip("]"): value for key, value in form.fields.items() if "[" in key
    }
    if not expires and "expires_after" not in form.fields:
        return None
    seconds = expires.get("seconds", "")
    number = int(seconds) if seconds.isascii() and seconds.isdigit() and len(seconds) < 10 else None
    return parse(ExpiresAfter, {**expires, "seconds": number}).seconds


def _store_form(state: State, form: Form, keep_s: int | None, mark: once.Mark | None) -> sqlite3.Row:
    def make() -> str:
        assert form.filename is not None, "checked"  # noqa: S101
        return add_file(state, form.path, form.filename, form.fields["purpose"], form.sha256, keep_s)

    made = once.once(state, mark, make)
    return state.read("SELECT * FROM file WHERE id = ?", made)[0]


def add_file(  # noqa: PLR0917 - the columns in order
    state: State, path: Path, filename: str, purpose: str, sha256: str, keep_s: int | None
) -> str:
    """Make a file of bytes that lie on this disk (they are moved); its id. On the disk when this returns."""
    file_id, size, now = new_id("file-"), path.stat().st_size, int(time.time())
    path.replace(file_path(state, file_id))
    expires = None if keep_s is None else now + keep_s
    values = (file_id, safe_name(filename), purpose, size, sha256, now, expires)
    query = "INSERT INTO file (id, filename, purpose, bytes, sha256, created_at, expires_at) VALUES (?,?,?,?,?,?,?)"
    state.change(query, *values)
    return file_id


def find_file(state: State, file_id: str) -> sqlite3.Row:
    """The row of a file that is there and has not expired. Raises 404."""
    rows = state.read("SELECT * FROM file WHERE id = ?", file_id)
    if not rows or (rows[0]["expires_at"] is not None and rows[0]["expires_at"] <= time.time()):
        raise not_found("File object", file_id)
    return rows[0]


async def list_files(request: Request) -> Response:
    """`GET /files`."""
    limit = whole(request, "limit", 10_000, 10_000)
    order = request.query_params.get("order", "desc")
    if order not in ("asc", "desc"):
        raise ApiError(400, "Invalid order: asc or desc is expected.", param="order")
    after, purpose = request.query_params.get("after"), request.query_params.get("purpose")
    state, query, values = (
        service(request).state,
        "SELECT * FROM file WHERE (expires_at IS NULL OR expires_at > ?)",
        [int(time.time())],
    )
    wheres: list[object] = [*values]
    if after:
        found = state.read("SELECT seq FROM file WHERE id = ?", after)
        if not found:
            raise ApiError(400, f"Invalid after: no file {after!r}.", param="after")
        query += f" AND seq {'>' if order == 'asc' else '<'} ?"
        wheres.append(found[0]["seq"])
    if purpose:
        query += " AND purpose = ?"
        wheres.append(purpose)
    rows = state.read(f"{query} ORDER BY seq {order} LIMIT ?", *wheres, limit + 1)
    data = [file_object(row) for row in rows[:limit]]
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return json_response({"object": "list", "data": data, **ends, "has_more": len(rows) > limit})


async def retrieve_file(request: Request) -> Response:
    """`GET /files/{id}`."""
    return json_response(file_object(find_file(service(request).state, request.path_params["file_id"])))


async def file_content(request: Request) -> Response:
    """`GET /files/{id}/content`."""
    state = service(request).state
    row = find_file(state, request.path_params["file_id"])
    headers = {"content-security-policy": "sandbox"}  # never a page of ours, whatever is in it
    kind = "application/octet-stream"
    return FileResponse(file_path(state, row["id"]), media_type=kind, filename=row["filename"], headers=headers)


async def delete_file(request: Request) -> Response:
    """`DELETE /files/{id}`. Refused while a job that has not ended was given it."""
    state, file_id = service(request).state, request.path_params["file_id"]
    find_file(state, file_id)

    def delete(db: sqlite3.Connection) -> None:
        used = "SELECT id FROM job WHERE phase != 'over' AND (training_file = ? OR validation_file = ?)"
        jobs = [row["id"] for row in db.execute(used, (file_id, file_id))]
        if jobs:
            raise ApiError(409, f"The file is used by {', '.join(jobs[:5])}; wait, or cancel it.", code="file_in_use")
        db.execute("DELETE FROM file WHERE id = ?", (file_id,))

    await anyio.to_thread.run_sync(state.write, delete)
    file_path(state, file_id).unlink(missing_ok=True)
    return json_response({"id": file_id, "object": "file", "deleted": True})


# --- housekeeping ---------------------------------------------------------------------------------------------------


def sweep(gateway: Service) -> None:
    """Delete what crashes and time have left behind: expired files, abandoned uploads, bytes that nobody refers to."""
    state, now = gateway.state, int(time.time())
    gone = (
        "DELETE FROM file WHERE expires_at <= ? AND NOT EXISTS (SELECT 1 FROM job WHERE phase != 'over' "
        "AND (training_file = file.id OR validation_file = file.id))"
    )
    state.change(gone, now)
    late = "UPDATE upload SET status = 'expired' WHERE status IN ('pending', 'completing') AND expires_at <= ?"
    state.change(late, now)
    state.change("DELETE FROM once WHERE created_at <= ?", now - once.KEPT_S)
    here = {record.id for record in gateway.store.jobs()}
    rows = state.read("SELECT id, phase, job_id FROM job")
    jobs = {row["id"] for row in rows if row["phase"] != "over" or row["job_id"] in here}
    files = {row["id"] for row in state.read("SELECT id FROM file")}
    uploads = {row["id"] for row in state.read("SELECT id FROM upload WHERE status = 'pending'")}
    for name, known in (("files", files), ("uploads", uploads), ("jobs", jobs), ("incoming", set[str]())):
        for path in (state.folder / name).iterdir():
            if path.name not in known and path.stat().st_mtime < now - _STALE_S:
                log.info("deleting %s, which belongs to nothing", path)
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
