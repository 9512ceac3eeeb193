"""Bytes to rows: JSONL in chunks, JSON arrays and concatenated objects as a stream, tables, text. Constant memory.

A row that cannot be read is handed to `fail` and skipped; after a fatal fault the file ends.
"""

from __future__ import annotations

import codecs
import csv
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BufferedIOBase, BytesIO
from itertools import repeat
from typing import BinaryIO, cast

from finetune_sdk.data import arrow, quoted
from finetune_sdk.data.containers import Opened
from finetune_sdk.data.jsonvalue import Object, as_object, type_name
from finetune_sdk.data.report import Fail, Fault, Rows
from finetune_sdk.data.strict import decode, decode_lines, diagnose, invalid_utf8

CHUNK_BYTES = 256 * 1024  # fits the cache; larger chunks were not faster
_LOOK_AHEAD = 16 * 1024
TABLE_BYTES = 2 * 1024 * 1024
MAX_LINE_BYTES = 64 * 1024 * 1024


def read_rows(opened: Opened, fail: Fail) -> Rows:
    """All rows of a file with their lines, whatever its container."""
    readers: dict[str, Callable[[BinaryIO, Fail], Rows]] = {
        "jsonl": read_jsonl,
        "json": read_json,
        "csv": read_table,
        "tsv": read_tabs,
        "text": read_text,
        "parquet": arrow.read_parquet,
        "arrow": arrow.read_arrow,
        "excel": arrow.read_excel,
    }
    return readers[opened.container](opened.stream, fail)


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


def read_jsonl(stream: BinaryIO, fail: Fail) -> Rows:
    """One object per line; blank lines are skipped."""
    for first, chunk in guarded(chunks(stream), fail):
        yield from rows_of_chunk(first, chunk, fail)


def rows_of_chunk(first: int, chunk: Chunk, fail: Fail, *, clean: bool = False) -> Rows:
    """The rows of whole lines; what one line says depends on no other. `clean`: see `decode_lines`."""
    values = decode_lines(chunk.data, chunk.lines, clean=clean)
    if values is not None and set(map(type, values)) <= _OBJECTS:
        return enumerate(values, first)
    return _one_by_one(first, chunk.lines, fail)


_OBJECTS = {dict}


def _one_by_one(first: int, lines: list[bytes], fail: Fail) -> Rows:
    for line, text in enumerate(lines, first):
        if text.isspace():
            continue
        try:
            value = decode(text)
            row = as_object(value)
            if row is None:
                raise not_an_object(value)
        except Fault as fault:
            fail(line, fault)
            continue
        yield line, row


def not_an_object(value: object) -> Fault:
    return Fault(
        "row-not-object",
        None,
        f"a row must be an object, this is {type_name(value)}",
        'Write each row as {"key": value, ...}.',
    )


def read_json(stream: BinaryIO, fail: Fail) -> Rows:
    """The elements of a top-level array, or objects one after another; nothing but the current one in memory."""
    scanner = _Scanner(stream)
    row = 0
    while True:
        row += 1
        try:
            found = scanner.next()
        except Fault as fault:
            fail(max(scanner.line, row), fault)
            if fault.fatal:
                return
            continue
        if found is None:
            return
        yield max(found[0], row), found[1]  # a line that holds many rows names none: the row's number does


class _Scanner:
    """Finds one JSON value after another in a stream of text."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._text = ""
        self._at = 0
        self._ended = False
        self._finder = json.JSONDecoder()
        self._depth = 0
        self.line = 1

    def next(self) -> tuple[int, Object] | None:
        """The next object with its line; None at the end."""
        if not self._skip():
            return None
        end = self._end_of_value()
        text = self._text[self._at : end]
        line = self.line
        self._advance(end)
        value = decode(text.encode())
        row = as_object(value)
        if row is None:
            raise not_an_object(value)
        return line, row

    def _skip(self) -> bool:
        """Move to the next value over blanks, commas and the array's brackets; False at the end."""
        while True:
            start = self._at
            size = len(self._text)
            while self._at < size and self._text[self._at] in " \t\r\n,[]":
                self._bracket(self._text[self._at])
                self._at += 1
            self.line += self._text.count("\n", start, self._at)
            if self._at < size:
                return True
            if not self._fill(CHUNK_BYTES):
                if self._depth:
                    raise _cut_short()
                return False

    def _bracket(self, sign: str) -> None:
        self._depth += (sign == "[") - (sign == "]")

    def _advance(self, end: int) -> None:
        self.line += self._text.count("\n", self._at, end)
        self._at = end

    def _fill(self, size: int) -> bool:
        data = self._stream.read(size)
        try:
            text = self._utf8.decode(data, final=not data)
        except UnicodeDecodeError as error:
            fault = invalid_utf8(bytes(error.object), error)
            raise Fault(fault.rule, None, fault.message, fault.fix, fatal=True) from None
        self._text = self._text[self._at :] + text
        self._at = 0
        self._ended = not data
        return bool(data)

    def _end_of_value(self) -> int:
        size = CHUNK_BYTES
        while True:
            try:
                _, end = self._finder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                wrong_here = not error.msg.startswith("Unterminated") and error.pos < len(self._text) - 64
                if wrong_here or not self._fill(size):
                    raise self._fault() from None
                if len(self._text) > MAX_LINE_BYTES:
                    raise Fault(
                        "line-too-long", None, "one value is longer than 64 MiB", "Is it data?", fatal=True
                    ) from None
                size *= 2
            except RecursionError:
                raise Fault(
                    "json-depth", None, "nested too deeply to be read", "Flatten the rows.", fatal=True
                ) from None
            else:
                return end

    def _fault(self) -> Fault:
        rest = self._text[self._at : self._at + MAX_LINE_BYTES].rstrip()
        fault = _cut_short()
        try:
            json.loads(rest)
        except json.JSONDecodeError as error:
            self.line += self._text.count("\n", self._at, self._at + error.pos)
            bad = rest[rest.rfind("\n", 0, error.pos) + 1 :].split("\n", 1)[0]
            fault = Fault(
                "json-syntax", None, f"{error.msg} near {bad.strip()[:60]!r}", "Write it with a JSON library."
            )
            if error.pos >= len(rest):
                fault = _cut_short()
            with suppress(Fault):
                diagnose(rest.encode())
        return Fault(fault.rule, None, fault.message, fault.fix, fatal=True)


def _cut_short() -> Fault:
    return Fault(
        "json-truncated",
        None,
        "the file ends before its last bracket closes",
        "Fetch or write the file again.",
        fatal=True,
    )


def read_text(stream: BinaryIO, fail: Fail) -> Rows:
    """Plain text: each line that is not blank is a row."""
    for line, text in _lines(stream, fail):
        stripped = text.rstrip("\r\n")
        if stripped.strip():
            yield line, {"text": stripped}


def _lines(stream: BinaryIO, fail: Fail) -> Iterator[tuple[int, str]]:
    line = 0
    for _, chunk in guarded(chunks(stream), fail):
        for data in chunk.data.splitlines(keepends=True):  # a carriage return ends one, too
            line += 1
            try:
                yield line, data.decode()
            except UnicodeDecodeError as error:
                fail(line, invalid_utf8(data, error))


def read_tabs(stream: BinaryIO, fail: Fail) -> Rows:
    """A table separated by tabs."""
    return read_table(stream, fail, delimiter="\t")


def read_table(stream: BinaryIO, fail: Fail, delimiter: str | None = None) -> Rows:
    """CSV with a header. Every cell is text, whatever it looks like; a column without a name is left out."""
    left, line = b"", 1
    header: list[str] = []
    sign = delimiter
    kept = bytearray(len(quoted.FRONT) + TABLE_BYTES)
    while len(data := _read_on(stream, left, kept)) > (done := len(quoted.FRONT)):
        ended = len(data) == len(left) + done
        try:
            sign = sign or _delimiter(_first_line(data))
            for found in _cut(data, sign, line, ended=ended):
                if found.cells:
                    if not header:
                        line = found.lines[0]
                        header, found = _header(found.cells[: found.ends[0]]), found.after_first()  # noqa: PLW2901
                    yield from _rows(header, found, fail)
                done, line = len(quoted.FRONT) + found.stop, found.line
                del found  # the next texts lie where these did
        except Fault as fault:
            fail(line, fault)
            return
        except (quoted.Doubtful, UnicodeDecodeError):
            yield from _read_carefully(_Rejoined(bytes(data[done:]), stream), fail, sign, header, line - 1)
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


def _cut(data: bytearray, sign: str, line: int, *, ended: bool) -> Iterator[quoted.Cut]:
    if line == 1 and len(data) < TABLE_BYTES // 2:
        raise quoted.Doubtful  # a short table is read before numpy is loaded
    return quoted.cut(data + b"\n" if ended else data, sign.encode(), line, most=0 if ended else 4 * TABLE_BYTES)


def _rows(header: list[str], found: quoted.Cut, fail: Fail) -> Rows:
    cells, ends, lines, *_ = found
    width = len(header)
    if "" in header or ends != list(range(width, len(cells) + 1, width)):
        return _unlike_rows(header, found, fail)
    fields = zip(*[iter(cells)] * width, strict=True)
    return zip(lines, _pairs(header, fields) if width == 2 else _dicts(header, fields), strict=True)


def _dicts(header: list[str], fields: Iterator[tuple[str, ...]]) -> Iterator[Object]:
    """Made one at a time, since what is used at once is still in the cache."""
    return map(dict, map(zip, repeat(header), fields))


def _pairs(header: list[str], fields: Iterator[tuple[str, ...]]) -> Iterator[Object]:
    """The same for two columns, as most tables have, at half the cost."""
    one, other = header
    return ({one: first, other: second} for first, second in fields)


def _unlike_rows(header: list[str], found: quoted.Cut, fail: Fail) -> Rows:
    cells, ends, lines, *_ = found
    for start, end, line in zip([0, *ends], ends, lines, strict=False):
        try:
            yield line, _cells(header, cells[start:end])
        except Fault as fault:
            fail(line, fault)


def _first_line(data: bytearray) -> str:
    start = len(quoted.FRONT)
    end = data.find(b"\n", start)
    if end < 0:
        raise quoted.Doubtful
    return data[start:end].decode()


class _Rejoined(BytesIO):
    """Bytes that were read already, then the rest of their stream."""

    def __init__(self, start: bytes, stream: BinaryIO) -> None:
        super().__init__(start)
        self._rest = stream

    def read(self, size: int | None = -1) -> bytes:
        return super().read(size) or self._rest.read(-1 if size is None else size)


def _read_carefully(stream: BinaryIO, fail: Fail, sign: str | None, header: list[str], before: int) -> Rows:
    """A table, or what follows its first `before` lines, character by character."""

    def later(line: int | None, fault: Fault) -> None:
        fail(None if line is None else line + before, fault)

    lines = (text for _, text in _lines(stream, later))
    first = next(lines, None)
    if first is None:
        return
    csv.field_size_limit(MAX_LINE_BYTES)
    reader = csv.reader(_chain(first, lines), delimiter=sign or _delimiter(first), strict=True)
    line = 1
    while True:
        try:
            cells = next(reader)
            if cells:
                if header:
                    yield line + before, _cells(header, cells)
                else:
                    header = _header(cells)
        except StopIteration:
            return
        except Fault as fault:
            later(line, fault)
            if fault.fatal:
                return
        except csv.Error as error:
            later(line, _csv_fault(error))
            return
        line = reader.line_num + 1


def _chain(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _delimiter(header: str) -> str:
    bare = re.sub('"[^"]*"', "", header)
    counts = {sign: bare.count(sign) for sign in ",;\t|"}
    return max(counts, key=lambda sign: counts[sign])


def _header(cells: list[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    repeated = {name for name in names if name and names.count(name) > 1}
    if repeated:
        raise Fault(
            "csv-duplicate-header",
            None,
            f"the header names {', '.join(sorted(map(repr, repeated)))} twice",
            "Rename one of the columns.",
            fatal=True,
        )
    return names


def _cells(header: list[str], cells: list[str]) -> Object:
    if len(cells) != len(header):
        raise Fault(
            "csv-ragged-row",
            None,
            f"{len(cells)} field{'s' if len(cells) != 1 else ''}, the header has {len(header)}",
            "Quote fields that contain the delimiter."
            if len(cells) > len(header)
            else "Separate the fields like the header's, and write empty ones too.",
        )
    row = dict(zip(header, cells, strict=True))
    row.pop("", None)
    return row


def _csv_fault(error: csv.Error) -> Fault:
    if "unexpected end of data" in str(error):
        return Fault(
            "csv-unclosed-quote", None, "a quote that opens here never closes", "Close it, or double it.", fatal=True
        )
    return Fault("csv-syntax", None, str(error), 'Quote the field and write a quote inside as "".', fatal=True)
