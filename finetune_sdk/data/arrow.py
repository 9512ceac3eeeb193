"""Parquet, Arrow (as `datasets` saves it) and Excel: read through libraries that are only there on demand."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

from finetune_sdk.data.arrowvalues import Strange, strangers
from finetune_sdk.data.jsonvalue import Object, as_list, as_object
from finetune_sdk.data.report import Fail, Fault, Rows
from finetune_sdk.errors import DataError

_BATCH_ROWS = 512


def read_parquet(stream: BinaryIO, fail: Fail) -> Rows:
    """Parquet, batch by batch; `line` is the row's number. Nulls that Arrow filled into objects are taken out."""
    library = needed("pyarrow.parquet", "pyarrow", "Reading Parquet")

    def rows() -> Rows:
        file = library.ParquetFile(stream)
        return _rows(file.iter_batches(batch_size=_BATCH_ROWS), file.schema_arrow, fail)

    return _survived("Parquet", rows, fail)


def read_arrow(stream: BinaryIO, fail: Fail) -> Rows:
    """An Arrow IPC stream or file, such as `Dataset.save_to_disk` writes."""
    ipc = needed("pyarrow.ipc", "pyarrow", "Reading Arrow files")
    return _survived("Arrow", lambda: _rows(_batches(ipc, stream), None, fail), fail)


def _survived(what: str, rows: Callable[[], Rows], fail: Fail) -> Rows:
    """The rows; whatever a library raises over damaged bytes (it may be anything) is a fault of the file."""
    try:
        yield from rows()
    except (DataError, Fault):
        raise
    except Exception as error:  # noqa: BLE001 - reported, not swallowed
        fail(None, _damaged(what, error))


def _batches(ipc: Any, stream: BinaryIO) -> Iterator[Any]:
    try:
        found = ipc.open_stream(stream)
    except ValueError:
        stream.seek(0)
        file = ipc.open_file(stream)
        found = (file.get_batch(index) for index in range(file.num_record_batches))
    for batch in found:
        batch.validate(full=True)  # damaged offsets would read memory that is not ours
        yield batch


def _rows(batches: Iterator[Any], schema: Any, fail: Fail) -> Rows:
    row = 1
    looking: Strange | None = None
    names: dict[str, list[str]] | None = None if schema is None else class_names(schema.metadata)
    for batch in batches:
        if looking is None:
            _refuse_twins(batch.schema.names)
            looking = Strange(batch.schema)
        if names is None:
            names = class_names(batch.schema.metadata)
        flat = not names and all(field.type.num_fields == 0 for field in batch.schema)
        strange = looking.among(batch)
        for part in (batch.slice(start, _BATCH_ROWS) for start in range(0, batch.num_rows, _BATCH_ROWS)):
            for value in part.to_pylist():
                if strange:
                    for fault in strangers(value):
                        fail(row, fault)
                yield row, value if flat else _clean(value, names)
                row += 1


def _refuse_twins(names: Sequence[str]) -> None:
    twin = next((name for at, name in enumerate(names) if name in names[:at]), None)
    if twin is not None:
        what = f"two columns are called {twin!r}: a row could keep one of them only"
        raise Fault("duplicate-column", twin, what, "Rename one of them.", fatal=True)


def _clean(value: Object, names: dict[str, list[str]]) -> Object:
    row = {key: without_filled_nulls(cell) for key, cell in value.items()}
    for key, words in names.items():
        label = row.get(key)
        items = as_list(label)
        if items is not None:
            row[key] = [_word(item, words) for item in items]
        elif label is not None:
            row[key] = _word(label, words)
    return row


def _word(label: Any, words: list[str]) -> Any:
    return words[label] if isinstance(label, int) and 0 <= label < len(words) else label


def class_names(metadata: Any) -> dict[str, list[str]]:
    """The words behind numbered labels, from the metadata that `datasets` writes; empty where there are none."""
    try:
        text: Any = metadata[b"huggingface"] if metadata and b"huggingface" in metadata else b"{}"
        features = as_object((as_object(json.loads(text)) or {}).get("info", {})) or {}
    except ValueError:
        return {}
    found: dict[str, list[str]] = {}
    for key, feature in (as_object(features.get("features")) or {}).items():
        label = as_object(feature) or {}
        label = as_object(label.get("feature")) or label  # of a list
        words = as_list(label.get("names"))
        if words is not None and label.get("_type") == "ClassLabel":
            found[key] = [str(word) for word in words]
    return found


def read_excel(stream: BinaryIO, fail: Fail) -> Rows:
    """The first sheet of a workbook, its first row the header. Others may hold notes, but no rows of the same kind."""
    library = needed("openpyxl", "openpyxl", "Reading Excel")
    return _survived("Excel", lambda: _sheet(library.load_workbook(stream, read_only=True, data_only=True)), fail)


def _sheet(book: Any) -> Rows:
    first, *others = book.worksheets
    cells: Iterator[tuple[Any, ...]] = first.iter_rows(values_only=True)
    header = _header(next(cells, ()))
    more = [
        sheet.title
        for sheet in others
        if any(header) and _header(next(sheet.iter_rows(values_only=True), ())) == header
    ]
    if more:
        raise Fault(
            "container-sheets",
            None,
            f"the sheets {', '.join(map(repr, [first.title, *more]))} all hold rows with this header; one is read",
            "Save each as a file of its own, and give those that are meant.",
            fatal=True,
        )
    for line, values in enumerate(cells, 2):
        row = {name: _cell(value) for name, value in zip(header, values, strict=False) if name}
        if any(row.values()):
            yield line, row


def _header(cells: Sequence[Any]) -> list[str]:
    return [str(name).strip() if name is not None else "" for name in cells]


def _cell(value: Any) -> str:
    """Cells are text, as in CSV; Excel's whole numbers come as floats."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def needed(module: str, package: str, what: str) -> Any:
    """An optional library. Raises `DataError` with the command that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DataError(
            f"{what} needs {package}, which is not installed: `pip install 'finetune-sdk[data]'`."
        ) from error


def _damaged(what: str, error: Exception) -> Fault:
    return Fault(
        "container-damaged",
        None,
        f"not a readable {what} file: {' '.join(str(error).split())[:200] or type(error).__name__}",
        "Write the file again, whole.",
        fatal=True,
    )


def without_filled_nulls(value: Any) -> Any:
    """The value without the nulls that Arrow puts where objects of one column differ in their keys."""
    found = as_object(value)
    if found is not None:
        return {key: without_filled_nulls(inner) for key, inner in found.items() if inner is not None}
    items = as_list(value)
    return value if items is None else [without_filled_nulls(inner) for inner in items]
