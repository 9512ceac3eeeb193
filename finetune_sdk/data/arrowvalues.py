"""Values of Arrow's columns that JSON has no word for: what becomes of them is said, not done in silence."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable, Iterator
from typing import Any, cast

from finetune_sdk.data.jsonvalue import as_object
from finetune_sdk.data.report import Fault

_FILE = {"bytes", "path"}
"""The keys of an image or a sound in a table, as `datasets` writes them: `--with images-inline` is about these."""


class Strange:
    """Finds batches of one schema that hold bytes (those of images aside), or NaN or an infinity."""

    def __init__(self, schema: Any) -> None:
        library = importlib.import_module("pyarrow")
        self._types = library.types
        self._finite = importlib.import_module("pyarrow.compute").is_finite
        self._bytes = any(map(self._has_bytes, schema.types))
        self._columns = [at for at, kind in enumerate(schema.types) if self._has_numbers(kind)]

    def among(self, batch: Any) -> bool:
        """Whether the batch holds some."""
        return self._bytes or any(self._is_strange(batch.column(at)) for at in self._columns)

    def _has_bytes(self, kind: Any) -> bool:
        inner = _inner(kind)
        if {field.name for field in inner} >= _FILE:
            return False
        return any(self._has_bytes(field.type) for field in inner) if inner else "binary" in str(kind)

    def _has_numbers(self, kind: Any) -> bool:
        if self._types.is_dictionary(kind):
            return self._has_numbers(kind.value_type)
        inner = _inner(kind)
        return any(self._has_numbers(field.type) for field in inner) if inner else bool(self._types.is_floating(kind))

    def _is_strange(self, array: Any) -> bool:
        kind = array.type
        if self._types.is_floating(kind):
            return bool(self._finite(array).false_count)
        if self._types.is_dictionary(kind):
            return self._is_strange(array.dictionary)
        if self._types.is_struct(kind):
            return any(self._is_strange(array.field(at)) for at in range(kind.num_fields))
        if self._types.is_map(kind):
            return self._is_strange(array.keys) or self._is_strange(array.items)
        return bool(_inner(kind)) and self._is_strange(array.flatten())


def _inner(kind: Any) -> list[Any]:
    """The fields of a type that holds others."""
    return [kind.field(at) for at in range(kind.num_fields)]


def strangers(row: dict[str, Any]) -> Iterator[Fault]:
    """What to know about one row: of each kind and column once."""
    for key, value in row.items():
        said: set[str] = set()
        for fault in _strange(value, key):
            if fault.rule not in said:
                said.add(fault.rule)
                yield fault


def _strange(value: Any, path: str) -> Iterator[Fault]:
    if isinstance(value, bytes):
        what = f"{path!r} holds bytes; JSON has texts only: they are written as base64"
        yield Fault("column-bytes", path, what, "Decode it before, or leave it as it is.", severity="info")
    elif isinstance(value, float) and not math.isfinite(value):
        what = f"{'NaN' if math.isnan(value) else 'an infinity'} is no JSON: it is written as null"
        yield Fault("column-nan", path, what, "Write null, or a number, in the source.", severity="warning")
    inner = as_object(value) or {}
    for key, item in inner.items() if not inner.keys() >= _FILE else ():
        yield from _strange(item, f"{path}.{key}")
    for index, item in enumerate(cast(Iterable[Any], value) if isinstance(value, list | tuple) else ()):
        yield from _strange(item, f"{path}[{index}]")
