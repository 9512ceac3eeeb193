"""To and from other libraries' tables: pyarrow, pandas, polars, datasets. Each is imported only when asked for."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from finetune_sdk.data.arrowrows import ArrowRows, needed
from finetune_sdk.data.callids import with_call_ids
from finetune_sdk.data.formats import format_named
from finetune_sdk.data.jsonvalue import Object, as_object
from finetune_sdk.data.losses import as_kind, losses, wrong_kind
from finetune_sdk.errors import DataError

if TYPE_CHECKING:
    from finetune_sdk.data.dataset import Dataset

_TABLES = ("pandas", "polars", "pyarrow", "datasets")
_AT_ONCE = 1000


def is_table(value: object) -> bool:
    """Whether the value is a table of one of the libraries; imports none of them."""
    return type(value).__module__.partition(".")[0] in _TABLES


def are_rows(value: object) -> bool:
    """Whether the value is a list or tuple with dictionaries, as programs hold rows."""
    return any(as_object(item) is not None for item in _several(value) or ())


def _several(value: object) -> Sequence[object] | None:
    """The value if it is a list or a tuple."""
    return cast(Sequence[object], value) if isinstance(value, list | tuple) else None


def refuse_no_paths(value: object) -> None:
    """Raise `DataError` where the value is neither a path nor several of them."""
    many = _several(value)
    if isinstance(value, str | Path) or (many is not None and all(isinstance(item, str | Path) for item in many)):
        return
    kind = type(value).__name__
    if isinstance(value, Mapping):
        fix = "a table as a dictionary of columns is none; give a list of rows, or a table of pandas, polars or pyarrow"
    elif isinstance(value, Iterable) and not isinstance(value, Sequence):
        fix = "rows that come one after another are for `Dataset.from_rows`"
    else:
        fix = "a dataset is opened from paths, rows or a table"
    raise DataError(f"this {kind} names no file: {fix}.")


def put_aside(rows: object, folder: Path) -> Path:
    """Write a table or an iterable of rows to a file in `folder`, from which it is read like any other."""
    library, kind = type(rows).__module__.partition(".")[0], type(rows).__name__
    if library == "datasets" and kind in ("DatasetDict", "IterableDatasetDict"):
        raise DataError(
            f"a {kind} holds several splits ({', '.join(_names(rows))}); give one, such as `data['train']`."
        )
    if library in _TABLES and kind in ("Series", "Array", "ChunkedArray", "Index"):
        raise DataError(f"this {kind} is one column, not a table: rows need named columns, such as `text`.")
    if library in _TABLES and kind != "IterableDataset":
        return _as_arrow(library, rows, folder / f"{kind}.arrow")
    if not isinstance(rows, Iterable):
        raise DataError(f"rows are a table or an iterable of dictionaries, not {kind}.")
    return _as_lines(rows, folder / "rows.jsonl")  # pyright: ignore[reportUnknownArgumentType]


def _names(splits: object) -> list[str]:
    return [str(name) for name in splits] if isinstance(splits, Mapping) else []  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def _as_arrow(library: str, rows: Any, path: Path) -> Path:
    tables = _tables(library, rows)
    try:
        first = next(tables)
    except needed("pyarrow").ArrowException as error:  # a column of several types
        raise DataError(f"this table cannot be read: {' '.join(map(str, error.args))}.") from error
    with needed("pyarrow.ipc").new_stream(str(path), first.schema) as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table)
    return path


def _tables(library: str, rows: Any) -> Iterator[Any]:
    arrow = needed("pyarrow")
    if library == "pyarrow":
        yield arrow.Table.from_batches([rows]) if isinstance(rows, arrow.RecordBatch) else rows
    elif library == "pandas":
        yield arrow.Table.from_pandas(rows, preserve_index=False)
    elif library == "polars":
        yield (rows.collect() if hasattr(rows, "collect") else rows).to_arrow()
    else:
        found = rows.with_format("arrow")
        schema = rows.features.arrow_schema  # names the labels
        yield schema.empty_table()
        for start in range(0, len(rows), _AT_ONCE):
            yield found[start : start + _AT_ONCE].cast(schema)


def _as_lines(rows: Iterable[object], path: Path) -> Path:
    with path.open("w", encoding="utf-8") as file:
        for number, row in enumerate(rows, 1):
            if not isinstance(row, Mapping):
                raise DataError(f"row {number}: a row must be a dictionary, this is {type(row).__name__}.")
            try:
                file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
            except (TypeError, ValueError) as error:
                raise DataError(f"row {number}: cannot be written as JSON: {error}.") from None
    return path


def temporary_folder() -> tuple[Path, Any]:
    """A folder for rows put aside, and what removes it."""
    folder = Path(tempfile.mkdtemp(prefix="finetune-rows-"))
    return folder, lambda: shutil.rmtree(folder, ignore_errors=True)


def rows_as(dataset: Dataset, to: str) -> Iterator[Object]:
    """The rows in a format, as dictionaries. Raises `DataError` at a row that the format cannot hold without loss."""
    entry = format_named(to)
    if entry.render is None:
        raise DataError(f"{entry.name} can be read, not written.")
    for example in dataset:
        place = f"{example.source.file}:{example.source.line}: " if example.source else ""
        found = as_kind(example, entry)
        if not found:
            raise DataError(f"{place}{wrong_kind(example, entry).message}.")
        for one in found:
            row = with_call_ids(one) if entry.needs_call_ids else one
            for finding in losses(row, entry):
                if finding.severity == "error":
                    raise DataError(f"{place}{finding.message}. {finding.fix}")
            yield entry.render(row)


def to_arrow(dataset: Dataset, to: str) -> Any:
    """A `pyarrow.Table` of the rows in a format. Tools are JSON text in it."""
    rows = ArrowRows()
    try:
        for row in rows_as(dataset, to):
            rows.add(row)
        return needed("pyarrow").concat_tables([rows.schema().empty_table(), *rows.tables()])
    finally:
        rows.close()


def to_pandas(dataset: Dataset, to: str) -> Any:
    """A `pandas.DataFrame`; objects and lists stay Python's."""
    needed("pandas", "")
    return to_arrow(dataset, to).to_pandas()


def to_polars(dataset: Dataset, to: str) -> Any:
    """A `polars.DataFrame`."""
    return needed("polars", "").from_arrow(to_arrow(dataset, to))


def to_hf(dataset: Dataset, to: str) -> Any:
    """A `datasets.Dataset` in memory."""
    return needed("datasets", "").Dataset(to_arrow(dataset, to))
