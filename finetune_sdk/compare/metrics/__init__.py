"""The metrics of a comparison by name. Each turns answers into additive numbers per item; see `measure`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from finetune_sdk.compare.items import Answer, Item
from finetune_sdk.compare.metrics import labels, likelihood, overlap, structured, text, user
from finetune_sdk.compare.metrics._fit import Unfit
from finetune_sdk.compare.statistics import Measured
from finetune_sdk.errors import SpecError

Measure: TypeAlias = Callable[[Sequence[Item], Sequence[Answer], Mapping[str, Any]], Measured]


@dataclass(frozen=True, slots=True)
class Metric:
    """A kind of metric."""

    measure: Measure
    title: str
    higher_is_better: bool = True
    unit: float = 100.0
    """What one whole is shown as: 100 = points out of a hundred, 1 = as it is."""
    options: frozenset[str] = frozenset()
    """Names of the options it takes."""
    required: frozenset[str] = frozenset()
    likelihood: bool = False
    """It needs log-probabilities of the references, which are asked for besides the answers."""
    foreign: bool = False
    """Somebody else's code, whose time is not ours to spend: tried on one row only before a run."""


METRICS: Mapping[str, Metric] = {
    "exact_match": Metric(text.exact_match, "exact match"),
    "contains": Metric(text.contains, "contains the reference"),
    "regex": Metric(text.regex, "regex", options=frozenset({"pattern", "group"}), required=frozenset({"pattern"})),
    "token_f1": Metric(text.token_f1, "token F1"),
    "accuracy": Metric(labels.accuracy, "accuracy"),
    "macro_f1": Metric(labels.macro_f1, "macro-F1"),
    "rouge1": Metric(overlap.rouge("rouge1"), "ROUGE-1"),
    "rouge2": Metric(overlap.rouge("rouge2"), "ROUGE-2"),
    "rougeL": Metric(overlap.rouge("rougeL"), "ROUGE-L"),
    "bleu": Metric(overlap.bleu, "BLEU", unit=1.0),
    "chrf": Metric(overlap.chrf, "chrF", unit=1.0),
    "perplexity": Metric(likelihood.perplexity, "perplexity", higher_is_better=False, unit=1.0, likelihood=True),
    "bits_per_byte": Metric(
        likelihood.bits_per_byte, "bits per byte", higher_is_better=False, unit=1.0, likelihood=True
    ),
    "json_valid": Metric(structured.json_valid, "valid JSON"),
    "json_schema": Metric(
        structured.json_schema, "JSON of the schema", options=frozenset({"schema"}), required=frozenset({"schema"})
    ),
    "tool_name": Metric(structured.tool_name, "right tool"),
    "tool_call": Metric(structured.tool_call, "right tool call"),
    "python": Metric(
        user.python, "own function", options=frozenset({"file", "function", "higher_is_better"}),
        required=frozenset({"file"}), foreign=True,
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Chosen:
    """A metric with its options, as a bench names it."""

    name: str
    options: Mapping[str, Any]

    @property
    def metric(self) -> Metric:
        return METRICS[self.name]

    @property
    def key(self) -> str:
        """Its name in results; two metrics of one kind differ by `as`."""
        return str(self.options.get("as", self.name))

    @property
    def title(self) -> str:
        return str(self.options.get("as", self.metric.title))

    @property
    def higher_is_better(self) -> bool:
        return bool(self.options.get("higher_is_better", self.metric.higher_is_better))

    def measure(self, items: Sequence[Item], answers: Sequence[Answer]) -> Measured:
        """Score the answers, one per item and in their order. Raises `Unfit` when the data is not for this metric."""
        return self.metric.measure(items, answers, self.options)


def chosen(name: str, options: Mapping[str, Any]) -> Chosen:
    """A metric by name. Raises `SpecError` for an unknown name or option."""
    if name not in METRICS:
        raise SpecError(f"unknown metric {name!r}; there are: {', '.join(METRICS)}")
    metric = METRICS[name]
    if unknown := sorted(set(options) - metric.options - {"as"}):
        takes = ", ".join(sorted(metric.options)) or "none"
        raise SpecError(f"metric {name!r} has no option {unknown[0]!r}; its options: {takes}")
    if missing := sorted(metric.required - set(options)):
        raise SpecError(f"metric {name!r} needs `{missing[0]}:`")
    return Chosen(name, dict(options))


__all__ = ["METRICS", "Chosen", "Metric", "Unfit", "chosen"]
