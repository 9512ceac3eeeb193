"""`/uploads`: a file that comes in parts."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response

from finetune_sdk.gateway import once
from finetune_sdk.gateway.bodies import CompleteUpload, CreateUpload, parse, read_json
from finetune_sdk.gateway.errors import ApiError, not_found
from finetune_sdk.gateway.files import add_file, find_file, safe_name
from finetune_sdk.gateway.multipart import Form, receive
from finetune_sdk.gateway.records import upload_object
from finetune_sdk.gateway.service import json_response, service
from finetune_sdk.gateway.state import State, new_id

UPLOAD_S = 3600
PART_BYTES = 64 * 2**20


async def create_upload(request: Request) -> Response:
    """`POST /uploads`."""
    gateway = service(request)
    value = await read_json(request, gateway.config.json_bytes)
    body = parse(CreateUpload, value)
    if body.bytes > gateway.config.file_bytes:
        raise ApiError(413, f"Invalid bytes: at most {gateway.config.file_bytes} are taken.", param="bytes")
    keep_s = None if body.expires_after is None else body.expires_after.seconds
    state, now = gateway.state, int(time.time())

    def make() -> str:
        upload_id = new_id("upload_")
        values = (upload_id, safe_name(body.filename), body.purpose, body.bytes, now, now + UPLOAD_S, keep_s)
        query = (
            "INSERT INTO upload (id, filename, purpose, bytes, status, created_at, expires_at, keep_s) "
            "VALUES (?, ?, ?, ?, 'pending', ?, ?, ?)"
        )
        state.change(query, *values)
        return upload_id

    mark = once.Mark.of(request, repr(value).encode())
    upload_id = await anyio.to_thread.run_sync(once.once, state, mark, make)
    return json_response(upload_object(_upload(state, upload_id), None))


def _upload(state: State, upload_id: str) -> sqlite3.Row:
    rows = state.read("SELECT * FROM upload WHERE id = ?", upload_id)
    if not rows:
        raise not_found("Upload object", upload_id)
    return rows[0]


def _open_upload(state: State, upload_id: str) -> sqlite3.Row:
    row = _upload(state, upload_id)
    if row["status"] == "pending" and row["expires_at"] <= time.time():
        state.change("UPDATE upload SET status = 'expired' WHERE id = ?", upload_id)
        row = _upload(state, upload_id)
    if row["status"] != "pending":
        raise ApiError(400, f"The upload is {row['status']}.", param="upload_id", code="upload_not_pending")
    return row


async def add_part(request: Request) -> Response:
    """`POST /uploads/{id}/parts`. Parts may come at the same time, in any order."""
    state = service(request).state
    upload = await anyio.to_thread.run_sync(_open_upload, state, request.path_params["upload_id"])
    path = state.folder / "incoming" / new_id("incoming-")
    form = await receive(request, path, file_field="data", fields=(), most=PART_BYTES)
    try:
        if form.filename is None or form.bytes == 0:
            raise ApiError(400, "The form has no bytes in its field 'data'.", param="data")
        if form.bytes > upload["bytes"]:
            text = f"The part has {form.bytes} bytes, the whole upload was announced with {upload['bytes']}."
            raise ApiError(400, text, param="data", code="part_too_large")
        mark = once.Mark.of(request, form.sha256.encode())
        part_id = await anyio.to_thread.run_sync(_store_part, state, upload["id"], form, mark)
    finally:
        path.unlink(missing_ok=True)
    row = state.read("SELECT * FROM part WHERE id = ?", part_id)[0]
    told = {"id": row["id"], "created_at": row["created_at"], "upload_id": upload["id"], "object": "upload.part"}
    return json_response(told)


def _store_part(state: State, upload_id: str, form: Form, mark: once.Mark | None) -> str:
    def make() -> str:
        part_id = new_id("part_")
        folder = state.folder / "uploads" / upload_id
        folder.mkdir(mode=0o700, exist_ok=True)
        form.path.replace(folder / part_id)
        values = (part_id, upload_id, form.bytes, int(time.time()))
        state.change("INSERT INTO part VALUES (?, ?, ?, ?)", *values)
        return part_id

    return once.once(state, mark, make)


async def complete_upload(request: Request) -> Response:
    """`POST /uploads/{id}/complete`: the parts in the order given, as one file. Asked again, it answers again."""
    gateway = service(request)
    body = parse(CompleteUpload, await read_json(request, gateway.config.json_bytes))
    upload_id = request.path_params["upload_id"]
    row = _upload(gateway.state, upload_id)
    if row["status"] != "completed":
        await anyio.to_thread.run_sync(_complete, gateway.state, upload_id, body)
        row = _upload(gateway.state, upload_id)
    return json_response(upload_object(row, find_file(gateway.state, row["file_id"])))


def _complete(state: State, upload_id: str, body: CompleteUpload) -> None:
    upload = _open_upload(state, upload_id)
    known = {row["id"]: row["bytes"] for row in state.read("SELECT * FROM part WHERE upload_id = ?", upload_id)}
    strange = [part for part in body.part_ids if part not in known]
    if strange or len(set(body.part_ids)) != len(body.part_ids):
        raise ApiError(400, f"Invalid part_ids: {(strange or ['one is named twice'])[0]!r}.", param="part_ids")
    size = sum(known[part] for part in body.part_ids)
    if size != upload["bytes"]:
        raise ApiError(
            400, f"The parts have {size} bytes, the upload was announced with {upload['bytes']}.", param="bytes"
        )
    path = state.folder / "incoming" / new_id("incoming-")
    folder = state.folder / "uploads" / upload_id
    try:
        md5, sha256 = _join([folder / part for part in body.part_ids], path)
        if body.md5 is not None and body.md5.lower() != md5:
            raise ApiError(400, f"The parts' md5 is {md5}, not {body.md5!r}.", param="md5", code="md5_mismatch")
        claim = "UPDATE upload SET status = 'completing' WHERE id = ? AND status = 'pending'"
        if state.change(claim, upload_id) != 1:
            raise ApiError(409, "The upload is being completed.", code="upload_not_pending")
        try:
            file_id = add_file(state, path, upload["filename"], upload["purpose"], sha256, upload["keep_s"])
        except BaseException:
            state.change("UPDATE upload SET status = 'pending' WHERE id = ?", upload_id)
            raise
        done = "UPDATE upload SET status = 'completed', file_id = ? WHERE id = ?"
        state.change(done, file_id, upload_id)
    except OSError as error:
        raise ApiError(507, f"The file cannot be stored: {error.strerror}.", code="storage_full") from error
    finally:
        path.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _join(parts: Sequence[Path], path: Path) -> tuple[str, str]:
    """The parts in one file, on the disk; its md5 and sha256."""
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    with path.open("xb") as file:
        for part in parts:
            with part.open("rb") as source:
                while block := source.read(1 << 20):
                    md5.update(block)
                    sha256.update(block)
                    file.write(block)
        file.flush()
        os.fsync(file.fileno())
    return md5.hexdigest(), sha256.hexdigest()


async def cancel_upload(request: Request) -> Response:
    """`POST /uploads/{id}/cancel`. Its parts are deleted."""
    state, upload_id = service(request).state, request.path_params["upload_id"]

    def cancel() -> None:
        if _upload(state, upload_id)["status"] != "cancelled":
            _open_upload(state, upload_id)
            query = "UPDATE upload SET status = 'cancelled' WHERE id = ? AND status = 'pending'"
            state.change(query, upload_id)
            shutil.rmtree(state.folder / "uploads" / upload_id, ignore_errors=True)

    await anyio.to_thread.run_sync(cancel)
    return json_response(upload_object(_upload(state, upload_id), None))
