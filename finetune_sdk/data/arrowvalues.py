"""Values of Arrow's columns that JSON has no word for: what becomes of them is said, not done in silence."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator
from typing import Any

from finetune_sdk.data.jsonvalue import as_list, as_object
from finetune_sdk.data.report import Fault


class Strange:
    """Finds batches of one schema that hold bytes in a column of their own, or NaN or an infinity anywhere."""

    def __init__(self, schema: Any) -> None:
        library = importlib.import_module("pyarrow")
        self._types = library.types
        self._finite = importlib.import_module("pyarrow.compute").is_finite
        self._bytes = any(map(self._is_bytes, schema.types))
        self._columns = [at for at, kind in enumerate(schema.types) if self._has_numbers(kind)]

    def among(self, batch: Any) -> bool:
        """Whether the batch holds some."""
        return self._bytes or any(self._is_strange(batch.column(at)) for at in self._columns)

    def _is_bytes(self, kind: Any) -> bool:
        types = self._types
        return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind))

    def _is_list(self, kind: Any) -> bool:
        types = self._types
        return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))

    def _has_numbers(self, kind: Any) -> bool:
        if self._types.is_struct(kind):
            return any(self._has_numbers(kind.field(at).type) for at in range(kind.num_fields))
        return self._has_numbers(kind.value_type) if self._is_list(kind) else bool(self._types.is_floating(kind))

    def _is_strange(self, array: Any) -> bool:
        kind = array.type
        if self._types.is_floating(kind):
            return bool(self._finite(array).false_count)
        if self._types.is_struct(kind):
            return any(self._is_strange(array.field(at)) for at in range(kind.num_fields))
        return self._is_list(kind) and self._is_strange(array.flatten())


def strangers(row: dict[str, Any]) -> Iterator[Fault]:
    """What to know about one row: of each kind and column once."""
    for key, value in row.items():
        if isinstance(value, bytes):
            what = f"{key!r} holds bytes; JSON has texts only: they are written as base64"
            yield Fault("column-bytes", key, what, "Decode it before, or leave it as it is.", severity="info")
            continue
        found = next(_not_finite(value, key), None)
        if found is not None:
            path, number = found
            what = f"{number} is no JSON: it is written as null"
            yield Fault("column-nan", path, what, "Write null, or a number, in the source.", severity="warning")


def _not_finite(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, float):
        if not math.isfinite(value):
            yield path, "NaN" if math.isnan(value) else "an infinity"
        return
    for key, item in (as_object(value) or {}).items():
        yield from _not_finite(item, f"{path}.{key}")
    for index, item in enumerate(as_list(value) or ()):
        yield from _not_finite(item, f"{path}[{index}]")
