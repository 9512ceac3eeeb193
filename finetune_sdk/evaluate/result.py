"""What an evaluation says: plain frozen records, JSON by `Evaluated.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pydantic import JsonValue

from finetune_sdk.spec import MetricName

Outcome = Literal["won", "lost", "kept", "missed", "free"]
"""Tuned right where base was wrong, the reverse, both right, both wrong; "free" = nothing to compare with."""

Verdict = Literal["better", "worse", "not decided", "not tested"]
""""not decided": the interval of the change includes no change; "not tested": there is no interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One model's value of one metric."""

    value: float
    low: float | None
    """Bounds of the 95 % interval; None = the rows do not support one."""
    high: float | None
    rows: int
    """Rows it rests on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Tuned against base on the same rows."""

    value: float
    """Tuned minus base; for perplexity tuned divided by base."""
    low: float | None
    high: float | None
    p_value: float | None = None
    """Exact McNemar test; None = no test for this metric."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric, before and after."""

    name: MetricName
    base: Score | None
    """None = the base model was not evaluated."""
    tuned: Score | None
    change: Change | None

    @property
    def higher_is_better(self) -> bool:
        return self.name != "perplexity"

    @property
    def verdict(self) -> Verdict:
        """What the interval of the change allows to say; never more."""
        neutral = 1.0 if self.name == "perplexity" else 0.0
        if self.change is None or self.change.low is None or self.change.high is None:
            return "not tested"
        if self.change.low <= neutral <= self.change.high:
            return "not decided"
        return "better" if (self.change.value > neutral) == self.higher_is_better else "worse"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelScore:
    """One label in one model's answers."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """One expected answer, before and after."""

    label: str
    rows: int
    base: LabelScore | None
    tuned: LabelScore | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Flips:
    """The rows by what changed, by exact match."""

    won: int
    lost: int
    kept: int
    missed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One row worth reading."""

    row: int
    outcome: Outcome
    prompt: str
    """The conversation as text; a `role:` starts each message where there are several."""
    expected: str | None
    base: str | None
    tuned: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """Base and tuned model on the held-out rows."""

    rows: int
    """Rows with an expected answer or a likelihood; free prompts are not counted."""
    metrics: tuple[Metric, ...]
    flips: Flips | None = None
    """None = the base model was not evaluated, or nothing had an expected answer."""
    labels: tuple[Label, ...] = ()
    confusion: Mapping[str, Mapping[str, int]] = field(default_factory=dict[str, Mapping[str, int]])
    """Tuned model: expected label -> answered label -> rows; the answer `""` stands for everything that is no label."""
    majority_share: float | None = None
    """Share of the most frequent expected answer: what always giving that answer would score."""
    samples: tuple[Sample, ...] = ()
    notes: tuple[str, ...] = ()
    """What to know before quoting a number."""

    def metric(self, name: MetricName) -> Metric:
        """The metric of this name. Raises `KeyError` when it was not asked for."""
        for metric in self.metrics:
            if metric.name == name:
                return metric
        raise KeyError(name)

    def json(self) -> dict[str, JsonValue]:
        """The whole as JSON."""
        plain: dict[str, Any] = asdict(self)
        for metric, record in zip(self.metrics, plain["metrics"], strict=True):
            record["verdict"] = metric.verdict
        return plain
