"""Metrics for test rows whose references are a few labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from finetune_sdk.compare.items import Answer, Item
from finetune_sdk.compare.metrics._fit import Unfit, references, share
from finetune_sdk.compare.statistics import Measured
from finetune_sdk.evaluate.scoring import normal_label

if TYPE_CHECKING:
    from finetune_sdk.compare.statistics import Array

MOST_LABELS = 200  # more different references than this are texts


def accuracy(items: Sequence[Item], answers: Sequence[Answer], _options: Mapping[str, Any]) -> Measured:
    """Equal to the reference; case, quotes and a final full stop aside."""
    wanted = references(items, "accuracy")
    return share(
        [
            one.text is not None and normal_label(one.text) == normal_label(text)
            for one, text in zip(answers, wanted, strict=True)
        ]
    )


def macro_f1(items: Sequence[Item], answers: Sequence[Answer], _options: Mapping[str, Any]) -> Measured:
    """The mean over the labels of the test rows of each label's F1; an answer that is no label counts against it."""
    import numpy as np  # noqa: PLC0415 - an extra

    wanted = [normal_label(text) for text in references(items, "macro_f1")]
    names = sorted(set(wanted))
    if len(names) > MOST_LABELS or len(names) == len(wanted) > 1:
        raise Unfit(
            f"macro_f1 needs labels, and the test rows have {len(names)} different references; use token_f1 or rougeL"
        )
    place = {name: index for index, name in enumerate(names)}
    parts = np.zeros((len(wanted), 3 * len(names)))  # hits, answers given, answers wanted; a column per label
    for row, (text, one) in enumerate(zip(wanted, answers, strict=True)):
        label, given = place[text], place.get(normal_label(one.text or ""))
        parts[row, 2 * len(names) + label] = 1
        if given is not None:
            parts[row, len(names) + given] = 1
            parts[row, label] = given == label
    return Measured(parts=parts, value=_macro_f1)


def _macro_f1(sums: Array) -> Array:
    import numpy as np  # noqa: PLC0415 - an extra

    hits, given, wanted = np.split(sums, 3, axis=-1)
    present = wanted > 0.5  # a resample may miss a label
    scores = np.where(present, 2 * hits / np.maximum(given + wanted, 1), 0.0)
    total: Array = scores.sum(axis=-1) / np.maximum(present.sum(axis=-1), 1)
    return total


def confusion(items: Sequence[Item], answers: Sequence[Answer]) -> dict[str, dict[str, int]] | None:
    """Counts by expected and given label, as first written; "" = an answer that is no label. None without labels."""
    shown: dict[str, str] = {}
    for item in items:
        if item.reference is None:
            return None
        shown.setdefault(normal_label(item.reference), item.reference.strip())
    if len(shown) > MOST_LABELS or len(shown) == len(items):
        return None
    table: dict[str, dict[str, int]] = {name: {} for name in sorted(shown.values())}
    for item, one in zip(items, answers, strict=True):
        row = table[shown[normal_label(item.reference or "")]]
        given = shown.get(normal_label(one.text or ""), "")
        row[given] = row.get(given, 0) + 1
    return table
