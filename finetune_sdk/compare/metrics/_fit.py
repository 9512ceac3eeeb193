"""What metrics share: the shapes of numbers, and the refusal of data they are not for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from finetune_sdk.compare.statistics import Measured, mean_of
from finetune_sdk.errors import DataError

if TYPE_CHECKING:
    from finetune_sdk.compare.items import Item
    from finetune_sdk.compare.statistics import Array


class Unfit(DataError):
    """A metric was asked of data it cannot score; the text names the first row and the way out."""


def share(hits: Sequence[bool]) -> Measured:
    """A right-or-wrong metric."""
    return Measured(parts=_columns([float(hit) for hit in hits]), value=mean_of, mean=True, binary=True)


def average(scores: Sequence[float]) -> Measured:
    """A metric that is the mean of a score per item."""
    return Measured(parts=_columns(scores), value=mean_of, mean=True)


def references(items: Sequence[Item], metric: str) -> list[str]:
    """The expected texts. Raises `Unfit` when a row has none."""
    for item in items:
        if item.reference is None:
            place = f"{item.file}:{item.line}: " if item.file else ""
            hint = " (it expects a tool call: use tool_call)" if item.calls else ""
            raise Unfit(
                f"{place}{metric} needs a reference answer, and this test row has none{hint}; "
                "remove the row or choose another metric"
            )
    return [item.reference or "" for item in items]


def _columns(scores: Sequence[float]) -> Array:
    import numpy as np  # noqa: PLC0415 - an extra

    return np.column_stack([np.asarray(scores, dtype=np.float64), np.ones(len(scores))])
