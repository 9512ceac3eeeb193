"""Metrics from log-probabilities of the reference, where an engine gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from finetune_sdk.compare.items import Answer, Item
from finetune_sdk.compare.metrics._fit import Unfit
from finetune_sdk.compare.statistics import Measured

if TYPE_CHECKING:
    from finetune_sdk.compare.statistics import Array


def perplexity(_items: Sequence[Item], answers: Sequence[Answer], _options: Mapping[str, Any]) -> Measured:
    """e to the mean loss per token of the references. Comparable only between models with one tokenizer."""
    import numpy as np  # noqa: PLC0415 - an extra

    if any(one.nll is None or not one.nll_tokens for one in answers):
        missing = sum(one.nll is None for one in answers)
        raise Unfit(
            f"perplexity needs the log-probability of every reference, and {missing} of {len(answers)} answers come "
            "without; this deployment does not give them"
        )
    return Measured(parts=np.array([[one.nll, one.nll_tokens] for one in answers], dtype=np.float64), value=_value)


def _value(sums: Array) -> Array:
    import numpy as np  # noqa: PLC0415 - an extra

    return np.exp(np.minimum(sums[..., 0] / sums[..., 1], 700.0))
