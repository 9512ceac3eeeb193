"""Rows to files, by suffix: JSONL, a JSON array, CSV, TSV, Parquet, Arrow; compressed on top. Whole or not at all."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import msgspec

from finetune_sdk.data.arrowrows import ArrowRows, needed
from finetune_sdk.data.jsonvalue import Object
from finetune_sdk.data.straight import Block
from finetune_sdk.data.writing import AtomicFile
from finetune_sdk.errors import DataError

Kind = Literal["jsonl", "json", "csv", "tsv", "parquet", "arrow"]
_KINDS: dict[str, Kind] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
_TABLES: tuple[Kind, ...] = ("parquet", "arrow")
_TOGETHER = 64  # rows encoded in one call


class RowFile:
    """A file of rows. `write` takes JSON objects; nothing appears under the name before `commit`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        suffixes = [suffix.lower() for suffix in path.suffixes]
        self._pack = _PACKERS.get(suffixes.pop()) if suffixes and suffixes[-1] in _PACKERS else None
        kind = _KINDS.get(suffixes[-1]) if suffixes else None
        if kind is None:
            packed = ", ".join(_PACKERS)
            raise DataError(
                f"{path}: the suffix names no output; use {', '.join(_KINDS)}; to compress it add {packed}."
            )
        if self._pack is not None and kind in _TABLES:
            raise DataError(f"{path}: tables of Arrow are not compressed as a whole; leave out {path.suffix!r}.")
        self._kind: Kind = kind
        self._file = AtomicFile(path)
        self._encoder = msgspec.json.Encoder()
        self._rows = 0
        self._pending: list[Object] = []
        self._columns: list[str] = []
        self._table: ArrowRows | None = None
        self._put: Callable[[bytes], object] = self._file.write
        self._sink = _Sink(self._file.write)
        self._zip: Any = None
        self._finished = False

    def __enter__(self) -> RowFile:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise DataError(f"{self.path}: cannot be written: {error.filename} is a file, not a folder.") from None
        if self.path.is_dir():
            raise DataError(f"{self.path}: cannot be written: it is a folder. Name a file in it.")
        self._file.__enter__()
        if self._pack is not None:
            try:
                self._zip = self._pack(self._sink)
            except BaseException as error:  # its library is missing
                self._file.__exit__(type(error), error, error.__traceback__)
                raise
            self._put = self._zip.write
        return self

    def write(self, row: Object) -> None:
        """Append a row."""
        if self._kind == "jsonl":
            self._pending.append(row)
            if len(self._pending) >= _TOGETHER:
                self._write_pending()
        elif self._kind == "json":
            self._put((b",\n" if self._rows else b"[\n") + self._encoder.encode(row))
        else:
            self._write_cells(row)
        self._rows += 1

    @property
    def takes_structs(self) -> bool:
        """Whether rows are encoded whole, so that they may hold whatever encodes as JSON."""
        return self._kind in ("jsonl", "json")

    @property
    def takes_blocks(self) -> bool:
        """Whether finished lines may be written as they are."""
        return self._kind == "jsonl"

    @property
    def part(self) -> Path | None:
        """The file that several processes may write lines into before `commit`; None where bytes must pass by us."""
        return self._file.part if self._kind == "jsonl" and self._pack is None else None

    def write_block(self, block: Block) -> None:
        """Append finished lines."""
        self._write_pending()
        self._put(block.lines)
        self._rows += block.rows

    def _write_pending(self) -> None:
        if self._pending:
            self._put(self._encoder.encode_lines(self._pending))
            self._pending.clear()

    def _write_cells(self, row: Object) -> None:
        if self._kind in _TABLES:
            self._table = self._table or ArrowRows()
            self._table.add(row)
        else:
            self._write_table_row(row)

    def finish(self) -> None:
        """Write what is left of the file; it does not appear yet. Where there are several, finish all, then commit."""
        if self._finished:
            return
        self._finished = True
        if self._kind == "jsonl":
            self._write_pending()
        if self._kind == "json":
            self._put(b"\n]\n" if self._rows else b"[]\n")
        if self._kind in _TABLES:
            self._write_table()
        if self._zip is not None:
            self._zip.close()
            self._zip = None
        self._file.finish()

    def commit(self) -> None:
        """Finish the file and let it appear."""
        self.finish()
        self._file.commit()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._table is not None:
                self._table.close()
            if self._zip is not None:  # left open it would write its end into a closed file, whenever it is forgotten
                self._sink.forget()
                self._zip.close()
        finally:
            self._file.__exit__(kind, error, trace)

    def _write_table_row(self, row: Object) -> None:
        text = io.StringIO()
        writer = csv.writer(text, delimiter="\t" if self._kind == "tsv" else ",", lineterminator="\n")
        if not self._columns:
            self._columns = list(row)
            writer.writerow(self._columns)
        if set(row) - set(self._columns):
            new = sorted(set(row) - set(self._columns))
            what = f"{self.path}: row {self._rows + 1} has columns the first row lacks: {', '.join(new)}"
            raise DataError(f"{what}. Write JSONL or Parquet, where rows may differ.")
        writer.writerow([self._cell(row.get(column)) for column in self._columns])
        self._put(text.getvalue().encode())

    def _cell(self, value: Any) -> str:
        if value is None:
            return ""
        return value if isinstance(value, str) else self._encoder.encode(value).decode()

    def _write_table(self) -> None:
        rows = self._table
        if rows is None:
            return
        sink, schema = _Sink(self._put), rows.schema()
        if self._kind == "parquet":
            opened = needed("pyarrow.parquet").ParquetWriter(sink, schema)
        else:
            opened = needed("pyarrow.ipc").new_file(sink, schema)
        with opened as writer:
            for table in rows.tables():
                writer.write_table(table)


class _Sink(io.RawIOBase):
    """A file object around `write`."""

    def __init__(self, put: Callable[[bytes], object]) -> None:
        self._put = put
        self._at = 0

    def forget(self) -> None:
        """Let everything that is still written go nowhere."""
        self._put = len

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        block = bytes(data)
        self._put(block)
        self._at += len(block)
        return len(block)

    def tell(self) -> int:
        return self._at


def _zstd(sink: io.RawIOBase) -> Any:
    return needed("zstandard").ZstdCompressor().stream_writer(sink, closefd=False)


def _xz(sink: Any) -> Any:
    return lzma.LZMAFile(sink, "wb")


_PACKERS: dict[str, Callable[[_Sink], Any]] = {
    ".gz": lambda sink: gzip.GzipFile(fileobj=sink, mode="wb", mtime=0),
    ".zst": _zstd,
    ".bz2": lambda sink: bz2.BZ2File(sink, "wb"),
    ".xz": _xz,
}
"""What compresses on the way to a file, by suffix."""
