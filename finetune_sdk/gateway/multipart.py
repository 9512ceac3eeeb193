"""`multipart/form-data`, read as it comes: one file to the disk, the other fields (small ones) to memory.

Memory does not grow with the file. What does not follow the format, or has a field too many, is refused at once.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import anyio.to_thread
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from finetune_sdk.gateway.errors import ApiError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_FIELD_BYTES = 1 << 16
_HEADER_BYTES = 1 << 13
_MAX_FIELDS = 32
_WRITE_BYTES = 1 << 20


@dataclass(slots=True)
class Form:
    """What came: the file (its bytes at `path`, on the disk), its name as the client gave it, and the other fields."""

    path: Path
    filename: str | None = None
    """None = no file came."""
    bytes: int = 0
    sha256: str = ""
    fields: dict[str, str] = field(default_factory=dict[str, str])


async def receive(request: Request, path: Path, *, file_field: str, fields: Collection[str], most: int) -> Form:
    """Read the request's form, the file into `path`; deletes `path` and raises when anything is wrong.

    `fields` are the names that may come beside the file, in brackets too: `expires_after[seconds]`.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary or len(boundary) > 200:
        raise ApiError(400, "Expected multipart/form-data with a boundary.", code="invalid_multipart")
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > most + (_MAX_FIELDS * _FIELD_BYTES):
        raise too_large(most)
    part_path = path.with_suffix(".part")
    try:
        with part_path.open("xb") as file:
            reader = _Reader(file, file_field, frozenset(fields), most)
            form = await _read(request, reader, boundary, path)
            await anyio.to_thread.run_sync(reader.finish)
        part_path.replace(path)
    except OSError as error:
        raise ApiError(507, f"The file cannot be stored: {error.strerror}.", code="storage_full") from error
    finally:
        part_path.unlink(missing_ok=True)
    return form


async def _read(request: Request, reader: _Reader, boundary: bytes, path: Path) -> Form:
    parser = MultipartParser(boundary, reader.callbacks())
    try:
        async for chunk in request.stream():
            if chunk:
                parser.write(chunk)
            if reader.waiting >= _WRITE_BYTES:
                await anyio.to_thread.run_sync(reader.flush)
        parser.finalize()
    except MultipartParseError as error:
        raise ApiError(400, f"The multipart body is damaged: {error}.", code="invalid_multipart") from error
    if not reader.ended:
        raise ApiError(400, "The multipart body ends before its last boundary.", code="invalid_multipart")
    return Form(path, reader.filename, reader.size, reader.sha256.hexdigest(), reader.fields)


def too_large(most: int) -> ApiError:
    """413."""
    return ApiError(413, f"The file is larger than {most} bytes, the most this gateway takes.", code="file_too_large")


class _Reader:
    """The parser's callbacks, and what they have gathered."""

    def __init__(self, file: BinaryIO, file_field: str, allowed: frozenset[str], most: int) -> None:
        self.file = file
        self.file_field = file_field
        self.allowed = allowed
        self.most = most
        self.filename: str | None = None
        self.fields: dict[str, str] = {}
        self.size = 0
        self.sha256 = hashlib.sha256()
        self.ended = False
        self._chunks: list[bytes] = []
        self.waiting = 0
        self._header: tuple[bytearray, bytearray] = (bytearray(), bytearray())
        self._headers: dict[bytes, bytes] = {}
        self._name = ""
        self._value = bytearray()
        self._in_file = False
        self._parts = 0

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._add_header(0, data[start:end]),
            "on_header_value": lambda data, start, end: self._add_header(1, data[start:end]),
            "on_header_end": self._header_end,
            "on_headers_finished": self._part_known,
            "on_part_data": self._data,
            "on_part_end": self._part_end,
            "on_end": self._end,
        }

    def flush(self) -> None:
        """What is in memory goes to the disk."""
        chunks, self._chunks, self.waiting = self._chunks, [], 0
        for chunk in chunks:
            self.sha256.update(chunk)
            self.file.write(chunk)

    def finish(self) -> None:
        """All of it is on the disk."""
        self.flush()
        self.file.flush()
        os.fsync(self.file.fileno())

    def _begin(self) -> None:
        self._headers, self._value = {}, bytearray()
        self._parts += 1
        if self._parts > _MAX_FIELDS:
            raise ApiError(400, f"The form has more than {_MAX_FIELDS} fields.", code="invalid_multipart")

    def _add_header(self, which: int, data: bytes) -> None:
        self._header[which].extend(data)
        if sum(map(len, self._header)) > _HEADER_BYTES:
            raise ApiError(400, "A header in the multipart body is too long.", code="invalid_multipart")

    def _header_end(self) -> None:
        name, value = self._header
        self._headers[bytes(name).lower()] = bytes(value)
        self._header = (bytearray(), bytearray())

    def _part_known(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if kind != b"form-data" or not name:
            raise ApiError(400, "A part of the form has no name.", code="invalid_multipart")
        self._name, self._in_file = name, name == self.file_field
        if self._in_file:
            if self.filename is not None:
                raise ApiError(400, f"The form has {name!r} twice.", param=name)
            self.filename = options.get(b"filename", b"").decode("utf-8", "replace") or "upload"
        elif name.partition("[")[0] not in self.allowed:
            raise ApiError(400, f"Unrecognized form field: {name[:100]!r}.", param=name[:100])

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self.size += end - start
            if self.size > self.most:
                raise too_large(self.most)
            self._chunks.append(data[start:end])
            self.waiting += end - start
        else:
            self._value += data[start:end]
            if len(self._value) > _FIELD_BYTES:
                raise ApiError(400, f"The form field {self._name!r} is too long.", param=self._name)

    def _part_end(self) -> None:
        if not self._in_file:
            self.fields[self._name] = self._value.decode("utf-8", "replace")
        self._in_file = False

    def _end(self) -> None:
        self.ended = True
