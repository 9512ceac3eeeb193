"""CSV and its kin to rows: long texts many records at a time (`quoted`), all else line by line."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import suppress
from io import BufferedIOBase, BytesIO
from itertools import chain, pairwise
from typing import BinaryIO, cast

from finetune_sdk.data import quoted
from finetune_sdk.data.csvlines import Records, Table, guess_delimiter, names
from finetune_sdk.data.report import Fail, Fault, Rows

TABLE_BYTES = 2 * 1024 * 1024
_MOST = 4 * TABLE_BYTES
_SAMPLE_BYTES = 64 * 1024
_LONG_TEXT = 64
"""Bytes."""


def read_tabs(stream: BinaryIO, fail: Fail) -> Rows:
    """A table separated by tabs."""
    return read_table(stream, fail, delimiter="\t")


def read_table(stream: BinaryIO, fail: Fail, delimiter: str | None = None) -> Rows:
    """CSV with a header. Every cell is text, whatever it looks like; a column without a name is left out."""
    start = stream.read(TABLE_BYTES // 2)
    sign = delimiter or guess_delimiter(start)
    if len(start) < TABLE_BYTES // 2 or not _worth_cutting(start[:_SAMPLE_BYTES], sign):
        return _line_by_line(_Rejoined(start, stream), fail, sign, [], 1)
    return chain.from_iterable(_parts(start, stream, fail, sign))  # each row costs less than with `yield from`


def _worth_cutting(sample: bytes, sign: str) -> bool:
    """Whether it has quotes, and texts so long that numpy is cheaper than `csv`."""
    if b'"' not in sample:
        return False
    cells = 0
    with suppress(csv.Error):
        for record in csv.reader(sample.decode(errors="replace").splitlines(keepends=True), delimiter=sign):
            cells += len(record)
    return len(sample) > _LONG_TEXT * cells


def _parts(left: bytes, stream: BinaryIO, fail: Fail, sign: str) -> Iterator[Rows]:
    line = 1
    header: list[str] = []
    kept = bytearray(len(quoted.FRONT) + TABLE_BYTES)
    while len(data := _read_on(stream, left, kept)) > (done := len(quoted.FRONT)):
        ended = len(data) == len(left) + done
        try:
            for found in quoted.cut(data + b"\n" if ended else data, sign.encode(), line, most=0 if ended else _MOST):
                if found.cells:
                    if not header:
                        line = found.lines[0]
                        header, found = names(found.cells[: found.ends[0]]), found.after_first()  # noqa: PLW2901
                    yield _cut_rows(header, found, fail)
                done, line = len(quoted.FRONT) + found.stop, found.line
                del found  # the next texts lie where these did
        except Fault as fault:
            fail(line, fault)
            return
        except quoted.Doubtful:
            yield _line_by_line(_Rejoined(bytes(data[done:]), stream), fail, sign, header, line)
            return
        left = bytes(data[done:])


def _read_on(stream: BinaryIO, left: bytes, kept: bytearray) -> bytearray:
    """What is left and what follows it, in the memory kept if it fills that; a line end of two bytes is not divided."""
    start = quoted.FRONT + left
    if 2 * len(left) > TABLE_BYTES:
        data = bytearray().join((start, stream.read(len(kept))))
    else:
        kept[: len(start)] = start
        with memoryview(kept) as view, view[len(start) :] as free:
            size = len(start) + cast(BufferedIOBase, stream).readinto(free)
        data = kept if size == len(kept) else kept[:size]
    return data + stream.read(1) if data.endswith(b"\r") else data


class _Rejoined(BytesIO):
    """Bytes that were read already, then the rest of their stream."""

    def __init__(self, start: bytes, stream: BinaryIO) -> None:
        super().__init__(start)
        self._rest = stream

    def read(self, size: int | None = -1) -> bytes:
        return super().read(size) or self._rest.read(-1 if size is None else size)


def _cut_rows(header: list[str], found: quoted.Cut, fail: Fail) -> Rows:
    cells, ends, lines, *_ = found
    width = len(header)
    if ends == list(range(width, len(cells) + 1, width)):
        return _rows(header, zip(lines, zip(*[iter(cells)] * width, strict=True), strict=True), fail)
    parts = (cells[start:end] for start, end in pairwise([0, *ends]))
    return _rows(header, zip(lines, parts, strict=False), fail)


def _line_by_line(stream: BinaryIO, fail: Fail, sign: str, header: list[str], line: int) -> Rows:
    """A table, or what follows the lines before that one."""
    table = Table(stream, fail, sign, header, line)
    table.read_header()
    return _rows(table.header, table.records(), fail)


def _rows(header: list[str], records: Records, fail: Fail) -> Rows:
    """One at a time, since what is used at once is still in the cache. A record that is too short or too long is told.

    Two and three columns, as most tables have, cost half as much where their cells are named one by one.
    """
    by_width = {2: _pairs, 3: _triples}
    return (_wider if "" in header else by_width.get(len(header), _wider))(header, records, fail)


def _pairs(header: list[str], records: Records, fail: Fail) -> Rows:
    one, other = header
    for line, cells in records:
        try:
            first, second = cells
        except ValueError:
            _tell_misfit(header, line, cells, fail)
        else:
            yield line, {one: first, other: second}


def _triples(header: list[str], records: Records, fail: Fail) -> Rows:
    one, other, last = header
    for line, cells in records:
        try:
            first, second, third = cells
        except ValueError:
            _tell_misfit(header, line, cells, fail)
        else:
            yield line, {one: first, other: second, last: third}


def _wider(header: list[str], records: Records, fail: Fail) -> Rows:
    for line, cells in records:
        try:
            row = dict(zip(header, cells, strict=True))
        except ValueError:
            _tell_misfit(header, line, cells, fail)
        else:
            row.pop("", None)
            yield line, row


def _tell_misfit(header: list[str], line: int, cells: Sequence[str], fail: Fail) -> None:
    if cells:  # else the line is blank
        fix = "Quote fields that contain the delimiter."
        if len(cells) < len(header):
            fix = "Separate the fields like the header's, and write empty ones too."
        what = f"{len(cells)} field{'s' if len(cells) != 1 else ''}, the header has {len(header)}"
        fail(line, Fault("csv-ragged-row", None, what, fix))
