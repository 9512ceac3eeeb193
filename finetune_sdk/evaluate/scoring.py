"""From predictions to scores, in one pass over the file (two for labels), with memory that does not grow with it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from finetune_sdk.evaluate.intervals import (
    Interval,
    Rate,
    independent_difference,
    macro_f1,
    mcnemar,
    paired_difference,
    wilson,
)
from finetune_sdk.evaluate.predictions import Row, prompt_text, read
from finetune_sdk.evaluate.result import (
    Change,
    Evaluated,
    Flips,
    Label,
    LabelScore,
    Metric,
    Outcome,
    Sample,
    Score,
)
from finetune_sdk.spec import MetricName

Side = Literal["base", "tuned"]

_MAX_LABELS = 200  # more different expected answers than this are texts, not labels
_FEW_ROWS = 30
_SAMPLES: dict[Outcome, int] = {"free": 20, "won": 5, "lost": 5, "missed": 3, "kept": 3}


def evaluate_predictions(path: Path, metrics: Sequence[MetricName]) -> Evaluated:
    """Score `predictions.jsonl`. Raises `DataError` when it cannot be read.

    An expected answer matches exactly when both texts are equal without the white space around them. A *label* matches
    also when case, quotes and a final full stop differ. A row without an answer (None) counts as wrong.
    """
    labels = _labels(path)
    tally = _Tally(labels)
    for row in read(path):
        tally.add(row)
    return tally.evaluated(tuple(dict.fromkeys(metrics)))


def _labels(path: Path) -> dict[str, str]:
    """The expected answers by their normal form, as first written; empty when there are too many to be labels."""
    found: dict[str, str] = {}
    for row in read(path):
        if row.expected is not None:
            found.setdefault(normal_label(row.expected), row.expected.strip())
            if len(found) > _MAX_LABELS:
                return {}
    return dict(sorted(found.items()))


def normal_label(text: str) -> str:
    """A label as it is compared: without white space, quotes and a full stop around it, case aside."""
    return text.strip().removesuffix(".").strip("\"'` \t\n").removesuffix(".").strip().casefold()


@dataclass(slots=True)
class _Tally:
    """Everything counted while the rows stream by."""

    labels: dict[str, str]
    rows: int = 0
    answers: int = 0
    answered: Counter[Side] = field(default_factory=Counter["Side"])
    exact: Counter[tuple[bool, bool]] = field(default_factory=Counter[tuple[bool, bool]])
    alike: Counter[tuple[bool, bool]] = field(default_factory=Counter[tuple[bool, bool]])
    expected: Counter[str] = field(default_factory=Counter[str])
    confusion: dict[Side, Counter[tuple[str, str | None]]] = field(
        default_factory=lambda: {"base": Counter(), "tuned": Counter()}
    )
    loss: dict[Side, Rate] = field(default_factory=lambda: {"base": Rate(), "tuned": Rate()})
    loss_change: Rate = field(default_factory=Rate)
    samples: dict[Outcome, list[Sample]] = field(default_factory=lambda: {kind: [] for kind in _SAMPLES})

    def add(self, row: Row) -> None:
        self._add_loss(row)
        outcome: Outcome = "free"
        if row.expected is not None:
            outcome = self._add_answer(row, row.expected)
        elif row.tuned_nll is None and row.base_nll is None and row.tuned is None and row.base is None:
            return
        self.rows += row.expected is not None or row.tuned_nll is not None
        if len(self.samples[outcome]) < _SAMPLES[outcome] and (row.base is not None or row.tuned is not None):
            self.samples[outcome].append(_sample(row, outcome))

    def _add_loss(self, row: Row) -> None:
        if not row.tokens:
            return
        amounts: dict[Side, float | None] = {"base": row.base_nll, "tuned": row.tuned_nll}
        for side, amount in amounts.items():
            if amount is not None:
                self.loss[side].add(amount, row.tokens)
        if row.base_nll is not None and row.tuned_nll is not None:
            self.loss_change.add(row.tuned_nll - row.base_nll, row.tokens)

    def _add_answer(self, row: Row, expected: str) -> Outcome:
        self.answers += 1
        self.answered["base"] += row.base is not None
        self.answered["tuned"] += row.tuned is not None
        wanted = normal_label(expected)
        exact = tuple(text is not None and text.strip() == expected.strip() for text in (row.base, row.tuned))
        self.exact[exact[0], exact[1]] += 1
        given = {"base": row.base, "tuned": row.tuned}
        normal = [None if text is None else normal_label(text) for text in given.values()]
        self.alike[normal[0] == wanted, normal[1] == wanted] += 1
        if self.labels:
            self.expected[wanted] += 1
            for side, text in zip(self.confusion, normal, strict=True):
                self.confusion[side][wanted, text if text in self.labels else None] += 1
        return _outcome(base=exact[0], tuned=exact[1])

    # --- the sums -----------------------------------------------------------------------------------------------------

    def evaluated(self, metrics: tuple[MetricName, ...]) -> Evaluated:
        exact = self.exact
        compared = all(self.answered[side] for side in self.confusion)
        flips = Flips(
            won=exact[False, True], lost=exact[True, False], kept=exact[True, True], missed=exact[False, False]
        )
        labelled = bool(self.labels) and any(name in ("accuracy", "macro_f1") for name in metrics)
        return Evaluated(
            rows=self.rows,
            metrics=tuple(self._metric(name) for name in metrics),
            flips=flips if compared else None,
            labels=tuple(self._label(label) for label in self.labels) if labelled else (),
            confusion=self._shown_confusion() if labelled else {},
            majority_share=max(self.expected.values()) / self.answers if self.expected else None,
            samples=tuple(sample for kind in self.samples.values() for sample in kind),
            notes=tuple(self._notes(metrics)),
        )

    def _metric(self, name: MetricName) -> Metric:
        match name:
            case "exact_match":
                return self._share(name, self.exact)
            case "accuracy":
                return self._share(name, self.alike)
            case "macro_f1":
                return self._macro_f1()
            case "perplexity":
                return self._perplexity()

    def _share(self, name: MetricName, counts: Counter[tuple[bool, bool]]) -> Metric:
        if not self.answers:
            return Metric(name=name, base=None, tuned=None, change=None)
        both, lost, won = counts[True, True], counts[True, False], counts[False, True]
        base = self._score("base", (both + lost) / self.answers, wilson(both + lost, self.answers))
        tuned = self._score("tuned", (both + won) / self.answers, wilson(both + won, self.answers))
        change = None
        if base is not None and tuned is not None:
            low, high = paired_difference(both=both, won=won, lost=lost, neither=counts[False, False])
            change = Change(value=(won - lost) / self.answers, low=low, high=high, p_value=mcnemar(won, lost))
        return Metric(name=name, base=base, tuned=tuned, change=change)

    def _score(self, side: Side, value: float, interval: Interval | None) -> Score | None:
        if not self.answered[side]:
            return None
        low, high = interval or (None, None)
        return Score(value=value, low=low, high=high, rows=self.answers)

    def _macro_f1(self) -> Metric:
        scores = {
            side: self._score(side, *macro_f1(table, list(self.labels))) if self.labels and table else None
            for side, table in self.confusion.items()
        }
        base, tuned = scores["base"], scores["tuned"]
        change = None
        if base is not None and tuned is not None:
            first, second = _interval(base), _interval(tuned)
            low = high = None
            if first is not None and second is not None:
                low, high = independent_difference(first, second)
            change = Change(value=tuned.value - base.value, low=low, high=high)
        return Metric(name="macro_f1", base=base, tuned=tuned, change=change)

    def _perplexity(self) -> Metric:
        base, tuned = (_perplexity(self.loss[side]) for side in ("base", "tuned"))
        change = _perplexity(self.loss_change)
        ratio = Change(value=change.value, low=change.low, high=change.high) if change is not None else None
        return Metric(name="perplexity", base=base, tuned=tuned, change=ratio)

    def _label(self, label: str) -> Label:
        scores = {
            side: _label_score(table, label) if self.answered[side] else None for side, table in self.confusion.items()
        }
        return Label(label=self.labels[label], rows=self.expected[label], base=scores["base"], tuned=scores["tuned"])

    def _shown_confusion(self) -> dict[str, dict[str, int]]:
        table: dict[str, dict[str, int]] = {shown: {} for shown in self.labels.values()}
        for (expected, given), count in sorted(
            self.confusion["tuned"].items(), key=lambda item: (item[0][0], item[0][1] or "~")
        ):
            table[self.labels[expected]][self.labels[given] if given is not None else ""] = count
        return table

    def _notes(self, metrics: tuple[MetricName, ...]) -> list[str]:
        notes: list[str] = []
        if 0 < self.answers < _FEW_ROWS:
            notes.append(f"only {self.answers} held-out rows: the intervals are wide; hold out more for a firm answer")
        if not self.labels and self.answers and "macro_f1" in metrics:
            notes.append(f"macro_f1 needs labels; there are more than {_MAX_LABELS} different expected answers")
        for side in ("base", "tuned"):
            missing = self.answers - self.answered[side]
            if self.answered[side] and missing > 0:
                notes.append(f"{missing} rows have no answer of the {side} model; they count as wrong")
        if "perplexity" in metrics and not self.loss["tuned"].rows:
            notes.append("perplexity was not measured: the predictions hold no likelihoods")
        return notes


def _outcome(*, base: bool, tuned: bool) -> Outcome:
    if tuned:
        return "kept" if base else "won"
    return "lost" if base else "missed"


def _sample(row: Row, outcome: Outcome) -> Sample:
    return Sample(
        row=row.row,
        outcome=outcome,
        prompt=prompt_text(row.prompt),
        expected=row.expected,
        base=row.base,
        tuned=row.tuned,
    )


def _interval(score: Score) -> tuple[float, Interval] | None:
    return None if score.low is None or score.high is None else (score.value, (score.low, score.high))


def _perplexity(loss: Rate) -> Score | None:
    if not loss.rows:
        return None
    low, high = loss.interval or (None, None)
    return Score(
        value=_exp(loss.value),
        low=None if low is None else _exp(low),
        high=None if high is None else _exp(high),
        rows=loss.rows,
    )


def _exp(value: float) -> float:
    return math.exp(min(value, 700.0))  # e^710 is not a float any more


def _label_score(table: Counter[tuple[str, str | None]], label: str) -> LabelScore:
    hits = table[label, label]
    wanted = sum(count for (expected, _), count in table.items() if expected == label)
    given = sum(count for (_, answered), count in table.items() if answered == label)
    return LabelScore(
        precision=hits / given if given else 0.0,
        recall=hits / wanted if wanted else 0.0,
        f1=2 * hits / (wanted + given) if wanted + given else 0.0,
    )
