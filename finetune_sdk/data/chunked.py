"""Whole lines of a stream, a quarter of a megabyte at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import BytesIO
from typing import BinaryIO

from finetune_sdk.data.report import Fail, Fault

CHUNK_BYTES = 256 * 1024  # fits the cache; larger chunks were not faster
_LOOK_AHEAD = 16 * 1024
MAX_LINE_BYTES = 64 * 1024 * 1024


class Chunk:
    """Whole lines, together and one by one."""

    __slots__ = ("_lines", "count", "data")

    def __init__(self, data: bytes, lines: list[bytes] | None = None) -> None:
        self.data = data
        self._lines = lines
        self.count: int | None = None
        """How many lines there are, where somebody found out without taking them apart."""

    @property
    def lines(self) -> list[bytes]:
        """With their ends. Only a line feed ends one."""
        if self._lines is None:
            self._lines = BytesIO(self.data).readlines()  # three times as fast as counting line feeds
        return self._lines

    def __len__(self) -> int:
        return len(self.lines) if self.count is None else self.count


def chunks(stream: BinaryIO) -> Iterator[tuple[int, Chunk]]:
    """Whole lines in chunks, each with the number of its first line. Raises `Fault` when a line is too long."""
    line = 1
    pending: list[bytes] = []
    size = 0
    file = _number(stream)
    while data := stream.read(CHUNK_BYTES if file is None else _to_a_line_end(stream, file)):
        cut = data.rfind(b"\n") + 1
        if cut == 0:
            pending.append(data)
            size += len(data)
            if size > MAX_LINE_BYTES:
                raise Fault(
                    "line-too-long",
                    None,
                    f"the line is longer than {MAX_LINE_BYTES // 2**20} MiB",
                    "Write one row per line; is this one JSON array, or another kind of file?",
                    fatal=True,
                )
            continue
        whole = not pending and cut == len(data)
        chunk = Chunk(data if whole else b"".join([*pending, memoryview(data)[:cut]]))
        rest = data[cut:]
        pending, size = ([rest], len(rest)) if rest else ([], 0)
        yield line, chunk
        line += len(chunk)
    if pending:
        yield line, Chunk(b"".join(pending))


def _number(stream: BinaryIO) -> int | None:
    """The open file of a stream that can look ahead in it; None where the bytes come from elsewhere."""
    try:
        return stream.fileno() if hasattr(os, "pread") else None
    except OSError:
        return None


def _to_a_line_end(stream: BinaryIO, file: int) -> int:
    """How much to read for about a chunk, so that no line has to be put together of two reads."""
    ahead = min(_LOOK_AHEAD, CHUNK_BYTES)
    least = CHUNK_BYTES - ahead
    return least + (os.pread(file, ahead, stream.tell() + least).rfind(b"\n") + 1 or ahead)


def guarded(items: Iterator[tuple[int, Chunk]], fail: Fail) -> Iterator[tuple[int, Chunk]]:
    """The items until a fatal fault, which is reported with the line after the last good one."""
    line, item = 0, Chunk(b"\n")
    while True:
        try:
            line, item = next(items)
        except StopIteration:
            return
        except Fault as fault:
            fail(line + len(item), fault)
            return
        yield line, item
