"""Distributions of lengths in constant memory: exact sums and extremes, percentiles within half a percent."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

SHARES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


@dataclass(slots=True)
class Lengths:
    """Counts lengths. Below 256 they are kept exactly, above rounded to within half a percent."""

    count: int = 0
    total: int = 0
    least: int = 0
    most: int = 0
    _bins: Counter[int] = field(default_factory=Counter[int])

    def add(self, length: int) -> None:
        """Count one length."""
        self.least = length if not self.count else min(self.least, length)
        self.most = max(self.most, length)
        self.count += 1
        self.total += length
        self._bins[_rounded(length)] += 1

    @property
    def mean(self) -> float:
        """0 when nothing was counted."""
        return self.total / self.count if self.count else 0.0

    def percentile(self, share: float) -> int:
        """The length that this share of rows does not exceed."""
        wanted = math.ceil(share * self.count)
        seen = 0
        for length in sorted(self._bins):
            seen += self._bins[length]
            if seen >= wanted:
                return min(max(length, self.least), self.most)
        return self.most

    def summary(self) -> dict[str, float]:
        """For JSON: count, mean, min, max and the percentiles."""
        quantiles = {f"p{share * 100:g}": float(self.percentile(share)) for share in SHARES}
        return {"count": self.count, "mean": self.mean, "min": self.least, **quantiles, "max": self.most}

    def bars(self, bins: int = 10) -> list[tuple[int, int, int]]:
        """(from, to, rows) over equally wide steps of the logarithm; the steps cover everything."""
        if not self.count:
            return []
        edges = _edges(self.least, self.most, bins)
        found = [0] * (len(edges) - 1)
        at = 0
        for length in sorted(self._bins):
            value = min(max(length, self.least), self.most)
            while at < len(found) - 1 and value >= edges[at + 1]:
                at += 1
            found[at] += self._bins[length]
        return [(edges[index], edges[index + 1], rows) for index, rows in enumerate(found)]


def _rounded(length: int) -> int:
    if length < 256:
        return length
    shift = length.bit_length() - 8
    return ((length >> shift) << shift) + (1 << shift >> 1)


def _edges(least: int, most: int, bins: int) -> list[int]:
    if most - least < bins:
        return list(range(least, most + 2))
    start, end = math.log(least + 1), math.log(most + 1)
    raw = [round(math.exp(start + (end - start) * step / bins)) - 1 for step in range(bins + 1)]
    edges = [least]
    for value in raw[1:-1]:
        if value > edges[-1]:
            edges.append(value)
    return [*edges, most + 1]
