"""Writing rows into a file whose name says the container: JSONL, JSON array, CSV, TSV, Parquet; `.gz` on top."""

from __future__ import annotations

import csv
import gzip
import importlib
import io
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec

from finetune_sdk.data.writing import AtomicFile
from finetune_sdk.errors import DataError

_encoder = msgspec.json.Encoder()


class Output(ABC):
    """Takes rows one by one. Nothing appears under the final name before `commit`."""

    def __init__(self, file: AtomicFile, *, compress: bool) -> None:
        self._file = file
        raw = cast(BinaryIO, _Sink(file))
        # no name, no time: equal rows, equal bytes
        self._gzip = gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6) if compress else None
        self._put = self._gzip.write if self._gzip is not None else file.write

    @abstractmethod
    def write(self, row: Any) -> None:
        """Append a row."""

    def finish(self) -> None:
        """Write what the container has at its end; most have nothing."""
        return

    def commit(self) -> None:
        """Make the file appear, complete."""
        self.finish()
        if self._gzip is not None:
            self._gzip.close()
        self._file.commit()


class _Sink(io.RawIOBase):
    """The part file, as what gzip and pyarrow write to."""

    def __init__(self, file: AtomicFile) -> None:
        self._file = file
        self._at = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def write(self, data: Any) -> int:
        block = bytes(data)
        self._file.write(block)
        self._at += len(block)
        return len(block)


class JsonLines(Output):
    """One object per line."""

    def write(self, row: Any) -> None:
        self._put(_encoder.encode(row) + b"\n")


class JsonArray(Output):
    """One array, a row per line."""

    _before = b"[\n"

    def write(self, row: Any) -> None:
        self._put(self._before + _encoder.encode(row))
        self._before = b",\n"

    def finish(self) -> None:
        self._put(b"\n]\n" if self._before == b",\n" else b"[]\n")


class Table(Output):
    """CSV or TSV. The first row names the columns; what is no text is written as JSON."""

    _delimiter = ","
    _columns: tuple[str, ...] | None = None

    def write(self, row: Any) -> None:
        if self._columns is None:
            self._columns = tuple(row)
            self._line(self._columns)
        unknown = [key for key in row if key not in self._columns]
        if unknown:
            raise DataError(
                f"a table has the columns of its first row ({', '.join(self._columns)}); a later row has "
                f"{', '.join(map(repr, unknown))} too. Write JSONL."
            )
        self._line(_cell(row.get(key)) for key in self._columns)

    def _line(self, cells: Any) -> None:
        text = io.StringIO()
        csv.writer(text, delimiter=self._delimiter, lineterminator="\n").writerow(cells)
        self._put(text.getvalue().encode())


class Tabs(Table):
    """TSV."""

    _delimiter = "\t"


class Parquet(Output):
    """Parquet with text columns; what is no text is written as JSON text, so that nothing is filled with nulls."""

    _columns: tuple[str, ...] | None = None
    _writer: Any = None

    def __init__(self, file: AtomicFile, *, compress: bool) -> None:
        super().__init__(file, compress=compress)
        self._rows: list[Mapping[str, Any]] = []
        self._size = 0
        self._arrow = _pyarrow("pyarrow")
        self._parquet = _pyarrow("pyarrow.parquet")

    def write(self, row: Any) -> None:
        self._rows.append(row)
        self._size += len(row) + 1
        if len(self._rows) >= 1000:
            self._flush()

    def _flush(self) -> None:
        if self._columns is None:
            self._columns = tuple(dict.fromkeys(key for row in self._rows for key in row))
        for row in self._rows:
            unknown = [key for key in row if key not in self._columns]
            if unknown:
                raise DataError(f"a later row has the new column {unknown[0]!r}. Write JSONL.")
        schema = self._arrow.schema([(name, self._arrow.string()) for name in self._columns])
        cells = [{name: _text_or_none(row.get(name)) for name in self._columns} for row in self._rows]
        if self._writer is None:
            self._writer = self._parquet.ParquetWriter(_Sink(self._file), schema)
        self._writer.write_table(self._arrow.Table.from_pylist(cells, schema=schema))
        self._rows = []

    def finish(self) -> None:
        self._flush()
        self._writer.close()


def _cell(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else _encoder.encode(value).decode()


def _text_or_none(value: Any) -> str | None:
    return None if value is None else _cell(value)


def _pyarrow(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DataError("Writing Parquet needs pyarrow: `pip install 'finetune-sdk[data]'`.") from error


_CONTAINERS: dict[str, type[Output]] = {
    ".jsonl": JsonLines,
    ".ndjson": JsonLines,
    ".json": JsonArray,
    ".csv": Table,
    ".tsv": Tabs,
    ".parquet": Parquet,
}


@contextmanager
def output(path: Path) -> Generator[Output]:
    """An output for the path; its container is told by the suffix. Raises `DataError` for one that is unknown."""
    compress = path.suffix == ".gz"
    suffix = Path(path.stem).suffix if compress else path.suffix
    container = _CONTAINERS.get(suffix.lower())
    if container is None or (compress and container is Parquet):
        known = ", ".join(_CONTAINERS)
        raise DataError(
            f"{path}: cannot tell the container from {suffix or 'no suffix'!r}. Known: {known}; .gz on top."
        )
    with AtomicFile(path) as file:
        yield container(file, compress=compress)
