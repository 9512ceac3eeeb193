"""Bytes to rows: JSONL in chunks, JSON arrays and concatenated objects as a stream, tables, text. Constant memory.

A row that cannot be read is handed to `fail` and skipped; after a fatal fault the file ends.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import BinaryIO

from finetune_sdk.data import arrow
from finetune_sdk.data.chunked import CHUNK_BYTES, MAX_LINE_BYTES, Chunk, chunks, guarded
from finetune_sdk.data.containers import Opened
from finetune_sdk.data.csvrows import read_table, read_tabs
from finetune_sdk.data.jsonvalue import Object, as_object, type_name
from finetune_sdk.data.report import Fail, Fault, Rows
from finetune_sdk.data.strict import decode, decode_lines, diagnose, invalid_utf8


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
