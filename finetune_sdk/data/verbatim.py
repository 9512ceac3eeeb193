"""Rows beside their examples: what only chooses among rows writes them back as they were, key by key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from finetune_sdk.data.dataset import Dataset
from finetune_sdk.data.declared import Declared
from finetune_sdk.data.example import Example
from finetune_sdk.data.formats import Format
from finetune_sdk.data.jsonvalue import Object
from finetune_sdk.data.report import Report


class Verbatim(Dataset):
    """Like the dataset it is made of; `row` is the JSON object of the example that `scan_rows` answered last."""

    _row: Object | None = None
    _read_as: str | None = None

    @classmethod
    def of(cls, dataset: Dataset) -> Verbatim:
        """The same files, read the same way."""
        found = cls(dataset.files, None, {})
        found.__dict__.update(vars(dataset))
        return found

    def scan_rows(self, report: Report, to: str) -> Iterator[tuple[Example, Object | None]]:
        """Each example with its row; None where the row is not of the format `to`, or its columns were mapped."""
        for example in self.scan(report, fast=False):
            yield example, self._row if self._read_as == to else None

    def _read(self, entry: Format, rows: Iterator[Any], layout: Declared | None, seen: Any) -> Iterator[Any]:
        self._read_as = entry.name if layout is None and not self._columns else None
        yield from super()._read(entry, self._noted(rows), layout, seen)

    def _noted(self, rows: Iterator[Any]) -> Iterator[Any]:
        for line, done, row in rows:
            self._row = row
            yield line, done, row
