"""Whether the metrics can be computed on these rows at all: asked before anything is trained or sent."""

from __future__ import annotations

from collections.abc import Sequence

from finetune_sdk.compare.bench import Bench
from finetune_sdk.compare.items import Answer, Item
from finetune_sdk.compare.metrics import Unfit
from finetune_sdk.errors import DataError


def fitting(bench: Bench, items: Sequence[Item]) -> list[str]:
    """Which metrics do not fit the test rows, with the reason, found out with answers that are all right.

    Raises `DataError` when the deciding one does not, `SpecError` for an option that cannot work (no such file, no
    such schema), `MissingExtra` for a library that is not there.
    """
    said: list[str] = []
    answers = [Answer(item=one.id, text=one.reference, calls=one.calls, nll=1.0, nll_tokens=1) for one in items]
    for place, spec in enumerate(bench.metrics):
        try:
            most = 1 if spec.chosen.metric.foreign else len(items)
            spec.chosen.measure(items[:most], answers[:most])
        except Unfit as error:
            if place == 0:
                raise DataError(
                    f"metrics[0]: {spec.chosen.key!r} decides, and does not fit these rows: {error}. Put another one "
                    "first."
                ) from error
            said.append(f"{spec.chosen.key} will not be measured: {error}")
    return said
