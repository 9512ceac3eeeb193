"""Metrics from log-probabilities of the reference, where an engine gives them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from finetune_sdk.compare.items import Answer, Item
from finetune_sdk.compare.metrics._fit import Unfit
from finetune_sdk.compare.statistics import Measured

if TYPE_CHECKING:
    from finetune_sdk.compare.statistics import Array


def perplexity(_items: Sequence[Item], answers: Sequence[Answer], _options: Mapping[str, Any]) -> Measured:
    """e to the mean loss per token of the references. Comparable only between models with one tokenizer."""
    losses = _losses(answers, "perplexity")
    return Measured(parts=_columns(losses, [one.nll_tokens or 0 for one in answers]), value=_exponential)


def bits_per_byte(items: Sequence[Item], answers: Sequence[Answer], _options: Mapping[str, Any]) -> Measured:
    """Loss in bits by the references' bytes: comparable between models of any tokenizer."""
    losses = [one / math.log(2) for one in _losses(answers, "bits_per_byte")]
    return Measured(parts=_columns(losses, [len((item.reference or "").encode()) for item in items]), value=_ratio)


def _losses(answers: Sequence[Answer], metric: str) -> list[float]:
    found = [one.nll for one in answers if one.nll is not None and one.nll_tokens]
    if len(found) < len(answers):
        raise Unfit(
            f"not measured: {metric} needs the log-probability of every reference, and {len(answers) - len(found)} of "
            f"{len(answers)} answers come without"
        )
    return found


def _columns(sums: Sequence[float], counts: Sequence[int]) -> Array:
    import numpy as np  # noqa: PLC0415 - an extra

    return np.column_stack([np.asarray(sums, dtype=np.float64), np.asarray(counts, dtype=np.float64)])


def _ratio(sums: Array) -> Array:
    return sums[..., 0] / sums[..., 1]


def _exponential(sums: Array) -> Array:
    import numpy as np  # noqa: PLC0415 - an extra

    return np.exp(np.minimum(_ratio(sums), 700.0))
