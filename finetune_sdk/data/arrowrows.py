"""Rows to Arrow without loss: one schema for all rows, found while they are put aside, applied when they are read.

Arrow alone takes the columns of the first row and drops what later rows have beside them.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Iterator
from typing import Any

import msgspec

from finetune_sdk.data.jsonvalue import Object
from finetune_sdk.errors import DataError

_BATCH_ROWS = 1000


class ArrowRows:
    """Rows on their way to a table: `add` them all, then take `schema` and `tables`. In constant memory."""

    def __init__(self) -> None:
        self._arrow = needed("pyarrow")
        self._aside = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._encoder = msgspec.json.Encoder()
        self._batch: list[Object] = []
        self._sizes: list[int] = []
        self._schema: Any = None

    def add(self, row: Object) -> None:
        """Put a row aside."""
        self._batch.append({key: self._column(key, value) for key, value in row.items()})
        if len(self._batch) >= _BATCH_ROWS:
            self._flush()

    def schema(self) -> Any:
        """The schema of all rows so far."""
        self._flush()
        return self._schema if self._schema is not None else self._arrow.schema([])

    def tables(self) -> Iterator[Any]:
        """The rows, as tables of that one schema."""
        schema = self.schema()
        self._aside.seek(0)
        for size in self._sizes:
            rows = msgspec.json.decode(self._aside.read(size))
            yield self._arrow.Table.from_pylist(rows, schema=schema)

    def close(self) -> None:
        """Forget the rows."""
        self._aside.close()

    def _flush(self) -> None:
        if not self._batch:
            return
        names = dict.fromkeys(key for row in self._batch for key in row)
        first = {name: self._batch[0].get(name) for name in names}  # Arrow reads the columns off the first row
        try:
            found = self._arrow.Table.from_pylist([first, *self._batch[1:]]).schema
            known = [found] if self._schema is None else [self._schema, found]
            self._schema = self._arrow.unify_schemas(known, promote_options="permissive")
        except (self._arrow.ArrowInvalid, self._arrow.ArrowTypeError, OverflowError) as error:
            raise DataError(
                f"the rows do not fit a table, whose columns have one type each: {error}. JSONL takes them as they are."
            ) from None
        data = self._encoder.encode(self._batch)
        self._sizes.append(self._aside.write(data))
        self._batch = []

    def _column(self, key: str, value: Any) -> Any:
        """Tools differ from row to row; Arrow would fill each with the others' keys, so they travel as text."""
        if key != "tools" or value is None or isinstance(value, str):
            return value
        return self._encoder.encode(value).decode()


def needed(module: str, extra: str = "data") -> Any:
    """An optional library. Raises `DataError` with the command that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = f"'finetune-sdk[{extra}]'" if extra else module.partition(".")[0]
        raise DataError(f"This needs {module.partition('.')[0]}: `pip install {package}`.") from error
