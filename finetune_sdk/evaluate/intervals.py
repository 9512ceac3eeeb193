"""How sure a number is: 95 % intervals and a test for paired answers. Standard library only.

Each is the method that holds up with few rows: Wilson's interval for a share, Newcombe's for the difference of two
shares measured on the same rows, the exact form of McNemar's test, linearised variances for ratios and macro-F1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

Z95 = 1.959963984540054  # two-sided 95 % point of the normal distribution

Interval = tuple[float, float]


def wilson(hits: int, rows: int) -> Interval:
    """Interval of a share. Also right at 0 and 1, where the textbook formula has no width."""
    share = hits / rows
    centre = share + Z95**2 / (2 * rows)
    spread = Z95 * math.sqrt(share * (1 - share) / rows + Z95**2 / (4 * rows**2))
    scale = 1 + Z95**2 / rows
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def paired_difference(*, both: int, won: int, lost: int, neither: int) -> Interval:
    """Interval of (second share - first share) on the same rows: Newcombe 1998, Stat. Med. 17:2635, method 10."""
    rows = both + won + lost + neither
    first, second = (both + lost) / rows, (both + won) / rows
    (low_1, high_1), (low_2, high_2) = wilson(both + lost, rows), wilson(both + won, rows)
    tied = _correlation(both, won, lost, neither)
    down = _spread(second - low_2, high_1 - first, tied)
    up = _spread(high_2 - second, first - low_1, tied)
    return max(-1.0, second - first - down), min(1.0, second - first + up)


def independent_difference(first: tuple[float, Interval], second: tuple[float, Interval]) -> Interval:
    """Interval of (second - first) from the interval of each (the MOVER). On the same rows it errs on the wide side."""
    (one, (low_1, high_1)), (two, (low_2, high_2)) = first, second
    return two - one - _spread(two - low_2, high_1 - one, 0.0), two - one + _spread(high_2 - two, one - low_1, 0.0)


def _spread(one: float, other: float, correlation: float) -> float:
    return math.sqrt(max(0.0, one**2 - 2 * correlation * one * other + other**2))


def _correlation(both: int, won: int, lost: int, neither: int) -> float:
    margins = (both + lost) * (both + won) * (neither + won) * (neither + lost)
    if margins == 0:
        return 0.0
    agreement = float(both * neither - won * lost)
    if agreement > 0:  # Newcombe's continuity correction
        agreement = max(0.0, agreement - (both + won + lost + neither) / 2)
    return agreement / math.sqrt(margins)


def mcnemar(won: int, lost: int) -> float:
    """Two-sided exact p-value: how often a fair coin would split the changed rows at least this unevenly."""
    changed, fewer = won + lost, min(won, lost)
    if changed == 0:
        return 1.0
    logs = (
        math.lgamma(changed + 1) - math.lgamma(k + 1) - math.lgamma(changed - k + 1) - changed * math.log(2)
        for k in range(fewer + 1)
    )
    return min(1.0, 2 * math.fsum(math.exp(log) for log in logs))


def macro_f1(confusion: Mapping[tuple[str, str | None], int], labels: list[str]) -> tuple[float, Interval | None]:
    """Macro-F1 over `labels` and its interval (delta method on the confusion table).

    `confusion` counts (expected, answered); an answer that is no label is None. The interval is None where the table
    has no spread to go by: nearly everything right, or nearly everything wrong.
    """
    rows = sum(confusion.values())
    hits = {label: confusion.get((label, label), 0) / rows for label in labels}
    sums = dict.fromkeys(labels, 0.0)
    for (expected, answered), count in confusion.items():
        sums[expected] += count / rows
        if answered is not None:
            sums[answered] += count / rows
    value = sum(2 * hits[label] / sums[label] for label in labels if sums[label]) / len(labels)
    mean = square = 0.0
    for (expected, answered), count in confusion.items():
        slope = _slope(expected, answered, hits, sums) / len(labels)
        mean += count / rows * slope
        square += count / rows * slope**2
    error = math.sqrt(max(0.0, square - mean**2) / rows)
    return value, (max(0.0, value - Z95 * error), min(1.0, value + Z95 * error)) if error > 1e-12 else None


def _slope(expected: str, answered: str | None, hits: Mapping[str, float], sums: Mapping[str, float]) -> float:
    """How the sum of F1 scores moves with one cell of the confusion table."""
    if expected == answered:
        return 2 * (sums[expected] - 2 * hits[expected]) / sums[expected] ** 2
    touched = [label for label in (expected, answered) if label is not None]
    return -sum(2 * hits[label] / sums[label] ** 2 for label in touched)


class Rate:
    """A ratio of sums over rows (loss per token), and its interval by linearisation; memory does not grow."""

    __slots__ = ("_cross", "_square", "_weight_square", "rows", "total", "weight")

    def __init__(self) -> None:
        self.rows = 0
        self.total = self.weight = 0.0
        self._square = self._weight_square = self._cross = 0.0

    def add(self, amount: float, weight: float) -> None:
        """One row: its amount (summed loss), its weight (tokens)."""
        self.rows += 1
        self.total += amount
        self.weight += weight
        self._square += amount**2
        self._weight_square += weight**2
        self._cross += amount * weight

    @property
    def value(self) -> float:
        return self.total / self.weight

    @property
    def interval(self) -> Interval | None:
        """None with fewer than two rows."""
        if self.rows < 2:
            return None
        rate = self.value
        spread = max(0.0, self._square - 2 * rate * self._cross + rate**2 * self._weight_square)
        error = math.sqrt(spread * self.rows / (self.rows - 1)) / self.weight
        return rate - Z95 * error, rate + Z95 * error
