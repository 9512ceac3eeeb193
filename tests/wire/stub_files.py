# pyright: basic
"""Files and uploads of the stand-in."""

from __future__ import annotations

from typing import Any

from wire.stub_state import Refused, Request, State, page


class Files(State):
    """Keeps what is uploaded."""

    def _create_file(self, request: Request) -> tuple[int, Any]:
        form = request.form or {}
        if "file" not in form:
            raise Refused(400, "'file' is a required property", param="file")
        return self.dialect.created, self._store_file(form["file"][0], form["file"][1], form.get("purpose", ""))

    def _store_file(self, name: str, data: bytes | int, purpose: str) -> dict[str, Any]:
        file_id = f"file-{next(self._ids):08d}"
        size = data if isinstance(data, int) else len(data)
        if not isinstance(data, int):
            self.content[file_id] = data
        self.files[file_id] = {
            "id": file_id, "object": "file", "bytes": size, "created_at": self._now(), "filename": name,
            "purpose": purpose, "status": self.file_words[0],
        }  # fmt: skip
        self._scripts[file_id] = list(self.file_words[1:])
        return self.files[file_id]

    def _import_file(self, request: Request) -> tuple[int, Any]:
        return self.dialect.created, self._store_file(request.body["filename"], 1000, request.body["purpose"])

    def _list_files(self, request: Request) -> tuple[int, Any]:
        return 200, page(list(reversed(self.files.values())), request.query, ids=True)

    def _get_file(self, _request: Request, file_id: str) -> tuple[int, Any]:
        file = self._file(file_id)
        shown = dict(file)
        if self._scripts.get(file_id):
            file["status"] = self._scripts[file_id].pop(0)
        return 200, shown

    def _delete_file(self, _request: Request, file_id: str) -> tuple[int, Any]:
        self._file(file_id)
        del self.files[file_id]
        return 200, {"id": file_id, "object": "file", "deleted": True}

    def _file_content(self, _request: Request, file_id: str) -> tuple[int, Any]:
        self._file(file_id)
        return 200, self.content.get(file_id, b"")

    def _file(self, file_id: str) -> dict[str, Any]:
        if file_id not in self.files:
            raise Refused(404, f"No such File object: {file_id}", param="id")
        return self.files[file_id]

    def _start_upload(self, request: Request) -> tuple[int, Any]:
        upload_id = f"upload_{next(self._ids):08d}"
        self.uploads[upload_id] = {**request.body, "parts": {}}
        return 200, self._upload(upload_id, "pending", None)

    def _upload(self, upload_id: str, status: str, file: Any) -> dict[str, Any]:
        one = self.uploads[upload_id]
        return {
            "id": upload_id, "object": "upload", "bytes": one["bytes"], "created_at": self.clock,
            "filename": one["filename"], "purpose": one["purpose"], "status": status, "expires_at": self.clock + 3600,
            "file": file,
        }  # fmt: skip

    def _add_part(self, request: Request, upload_id: str) -> tuple[int, Any]:
        part_id = f"part_{next(self._ids):08d}"
        _, data = (request.form or {})["data"]
        self.uploads[upload_id]["parts"][part_id] = data if isinstance(data, int) else len(data)
        return 200, {"id": part_id, "object": "upload.part", "created_at": self.clock, "upload_id": upload_id}

    def _complete_upload(self, request: Request, upload_id: str) -> tuple[int, Any]:
        one = self.uploads[upload_id]
        size = sum(one["parts"][part] for part in request.body["part_ids"])
        if size != one["bytes"]:
            raise Refused(400, f"Upload has {size} bytes, {one['bytes']} were announced")
        file = self._store_file(one["filename"], size, one["purpose"])
        return 200, self._upload(upload_id, "completed", file)
