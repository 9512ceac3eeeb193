"""Which of several candidates is better, on the same items: intervals, tests, and how many more items would decide it.

Every metric comes in as *additive* numbers per item (hits, n-gram counts, log-likelihoods) and a function from their
sums to its value, so that one resampling serves them all, macro-F1 and BLEU as well as a share. Needs numpy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist
from typing import TYPE_CHECKING, TypeAlias

from finetune_sdk.evaluate.intervals import mcnemar, paired_difference, wilson

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Array: TypeAlias = "NDArray[np.float64]"
Interval = tuple[float, float]

RESAMPLES = 5_000
"""Draws of the bootstrap and of the randomisation test: p-values as small as 1/5,001 can be told."""
POWER = 0.8
"""The chance of a decisive answer with the number of items that `more_items` names."""
_CHUNK = 1 << 22  # numbers held at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One candidate measured by one metric on `items` items."""

    parts: Array
    """Additive numbers, shape (items, k)."""
    value: Callable[[Array], Array]
    """From sums over items, shape (..., k), to the metric, shape (...)."""
    mean: bool = False
    """True: `parts` are (amount, 1), and the metric is the mean of the amounts: each item has a score."""
    binary: bool = False
    """True: `mean`, and the amounts are 0 and 1."""

    @property
    def items(self) -> int:
        return len(self.parts)

    @property
    def score(self) -> float:
        """The metric over all items."""
        return float(self.value(self.parts.sum(axis=0)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Second candidate against first, on the same items."""

    first: str
    second: str
    difference: float
    """Second minus first, in the metric's own unit."""
    low: float | None
    """95 % interval of the difference, of this pair alone; None = the items do not support one."""
    high: float | None
    p_value: float
    """Exact McNemar for right-or-wrong metrics, else approximate randomisation; of this pair alone."""
    p_adjusted: float
    """Holm's correction over all pairs that were compared."""
    more_items: int | None
    """Items needed beyond those at hand for an 80 % chance of deciding, if the difference is what it looks like;
    None = it is decided, or the difference is nothing."""

    @property
    def decided(self) -> bool:
        return self.p_adjusted < 0.05


def mean_of(parts: Array) -> Array:
    """The value function of metrics that are a mean: columns are (amount, 1)."""
    return parts[..., 0] / parts[..., 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the items say about the candidates."""

    intervals: Mapping[str, Interval | None]
    """The 95 % interval of each candidate's score; None = the items do not support one."""
    pairs: Sequence[Pair]


def compare(
    measured: Mapping[str, Measured],
    *,
    seed: int,
    reference: str | None = None,
    resamples: int = RESAMPLES,
) -> Standing:
    """Each candidate's interval, and every pair of them; with `reference` every other candidate against that one.

    Without a reference all pairs are one family under Holm's correction, so that picking the best-looking one
    afterwards does not make chance look like an answer: with no true difference at most 5 % of runs decide anything.
    Raises `ValueError` unless all were measured on the same number of items.
    """
    if len({one.items for one in measured.values()}) > 1:
        raise ValueError("candidates can only be compared on the same items")
    names = list(measured)
    pairs = list(combinations(names, 2)) if reference is None else [(reference, n) for n in names if n != reference]
    draws = resampled(measured, seed=seed, resamples=resamples)
    again = {name: _Resampled(draws[name], _left_out(one)) for name, one in measured.items()}
    tests = _p_values(measured, pairs, seed=seed, resamples=resamples)
    found = [tests[pair] for pair in pairs]
    tested = zip(pairs, found, holm(found), _levels(found), strict=True)
    return Standing(
        intervals={name: _interval(one, again[name]) for name, one in measured.items()},
        pairs=[_pair(pair, measured, again, _Tested(*rest)) for pair, *rest in tested],
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction, in the order given."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [1.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def _levels(p_values: Sequence[float]) -> list[float]:
    """What each p-value has to stay below, by its place among them."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    place = {index: rank for rank, index in enumerate(order)}
    return [0.05 / (len(p_values) - place[index]) for index in range(len(p_values))]


def _interval(one: Measured, again: _Resampled) -> Interval | None:
    """The bootstrap's; Wilson's for a share of all or of none, where nothing varies."""
    bounds = _bca(again.draws, one.score, again.left_out)
    if bounds is None and one.binary and one.items:
        return wilson(round(float(one.parts[:, 0].sum())), one.items)
    return bounds


# --- one pair -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Resampled:
    """One candidate in all resamples, and without each item in turn."""

    draws: Array
    left_out: Array


@dataclass(frozen=True, slots=True)
class _Tested:
    """A pair's p-value, the same after Holm's correction, and the level that the correction leaves to it."""

    p_value: float
    adjusted: float
    level: float


def _pair(
    pair: tuple[str, str], measured: Mapping[str, Measured], again: Mapping[str, _Resampled], tested: _Tested
) -> Pair:
    one, two = pair
    first, second = measured[one], measured[two]
    difference, without = second.score - first.score, again[two].left_out - again[one].left_out
    bounds = _bca(again[two].draws - again[one].draws, difference, without)
    if bounds is None and first.binary:
        bounds = _newcombe(first, second)
    low, high = bounds or (None, None)
    moved = int((first.parts != second.parts).any(axis=1).sum())
    return Pair(
        first=one,
        second=two,
        difference=difference,
        low=low,
        high=high,
        p_value=tested.p_value,
        p_adjusted=tested.adjusted,
        more_items=None if tested.adjusted < 0.05 else _more_items(difference, without, moved, level=tested.level),
    )


def _cells(first: Measured, second: Measured) -> tuple[int, int, int, int]:
    """Both right, only the second, only the first, neither."""
    one, two = first.parts[:, 0] > 0.5, second.parts[:, 0] > 0.5
    both, won, lost = int((one & two).sum()), int((~one & two).sum()), int((one & ~two).sum())
    return both, won, lost, first.items - both - won - lost


def _newcombe(first: Measured, second: Measured) -> Interval:
    both, won, lost, neither = _cells(first, second)
    return paired_difference(both=both, won=won, lost=lost, neither=neither)


def _more_items(difference: float, left_out: Array, moved: int, *, level: float) -> int | None:
    """Items for `POWER` at `level`, by the spread that the jackknife sees, minus those there are.

    At least so many that the test can get below the level at all: items on which the two differ (of those there are,
    `moved`), all one way, are tosses of a coin that falls on one side.
    """
    items = len(left_out)
    if difference == 0 or not moved:
        return None
    least = math.ceil((1 + math.floor(math.log2(2 / level))) * items / moved)
    wanted = 0
    if items > 1:
        variance = float(((left_out - left_out.mean()) ** 2).sum()) * (items - 1)  # of one item in the difference
        normal = NormalDist()
        reach = normal.inv_cdf(1 - level / 2) + normal.inv_cdf(POWER)
        wanted = math.ceil(reach**2 * variance / difference**2)
    return max(1, max(least, wanted) - items)


# --- resampling -----------------------------------------------------------------------------------------------------


def resampled(measured: Mapping[str, Measured], *, seed: int, resamples: int = RESAMPLES) -> dict[str, Array]:
    """The score of each candidate in each resample; the resamples are the same for all, which keeps pairs paired."""
    import numpy as np  # noqa: PLC0415 - an extra

    if not measured:
        return {}
    random = np.random.default_rng([seed, 1])
    items = next(iter(measured.values())).items
    table, columns = _side_by_side(measured)
    found: dict[str, list[Array]] = {name: [] for name in measured}
    for count in _chunks(resamples, items):
        drawn = random.integers(0, items, size=(count, items), dtype=np.int32)
        drawn += (np.arange(count, dtype=np.int32) * items)[:, None]
        times = np.bincount(drawn.ravel(), minlength=count * items).reshape(count, items).astype(np.float64)
        sums = times @ table
        for name, one in measured.items():
            found[name].append(one.value(sums[:, columns[name]]))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _p_values(
    measured: Mapping[str, Measured], pairs: Sequence[tuple[str, str]], *, seed: int, resamples: int
) -> dict[tuple[str, str], float]:
    found: dict[tuple[str, str], float] = {}
    for pair in pairs:
        first, second = measured[pair[0]], measured[pair[1]]
        if first.binary and second.binary:
            _, won, lost, _ = _cells(first, second)
            found[pair] = mcnemar(won, lost)
    rest = [pair for pair in pairs if pair not in found]
    return found | _randomised(measured, rest, seed=seed, resamples=resamples)


def _randomised(
    measured: Mapping[str, Measured], pairs: Sequence[tuple[str, str]], *, seed: int, resamples: int
) -> dict[tuple[str, str], float]:
    """Approximate randomisation: had the two answers of each item changed places, how often would they differ as much?

    Noreen 1989. The swaps are the same for all pairs. The observed arrangement counts as one, so no p-value is 0.
    """
    import numpy as np  # noqa: PLC0415 - an extra

    if not pairs:
        return {}
    random = np.random.default_rng([seed, 2])
    items = measured[pairs[0][0]].items
    moved = np.concatenate([measured[two].parts - measured[one].parts for one, two in pairs], axis=1)
    widths = np.cumsum([0, *(measured[one].parts.shape[1] for one, _ in pairs)])
    as_far = dict.fromkeys(pairs, 0)
    for count in _chunks(resamples, items):
        swaps = random.integers(0, 2, size=(count, items), dtype=np.int8).astype(np.float64)
        shift = swaps @ moved
        for index, pair in enumerate(pairs):
            first, second = measured[pair[0]], measured[pair[1]]
            by = shift[:, widths[index] : widths[index + 1]]
            swapped = second.value(second.parts.sum(axis=0) - by) - first.value(first.parts.sum(axis=0) + by)
            observed = abs(second.score - first.score)
            as_far[pair] += int((np.abs(swapped) >= observed - 1e-12).sum())
    return {pair: (count + 1) / (resamples + 1) for pair, count in as_far.items()}


def _side_by_side(measured: Mapping[str, Measured]) -> tuple[Array, dict[str, slice]]:
    import numpy as np  # noqa: PLC0415 - an extra

    columns: dict[str, slice] = {}
    at = 0
    for name, one in measured.items():
        columns[name] = slice(at, at + one.parts.shape[1])
        at += one.parts.shape[1]
    return np.concatenate([one.parts for one in measured.values()], axis=1), columns


def _chunks(resamples: int, items: int) -> list[int]:
    size = max(1, min(resamples, _CHUNK // items))
    return [size] * (resamples // size) + ([resamples % size] if resamples % size else [])


def _left_out(one: Measured) -> Array:
    """The jackknife: the score without each item in turn; the score itself where there is but one."""
    if one.items < 2:
        return one.value(one.parts)
    return one.value(one.parts.sum(axis=0) - one.parts)


def _bca(draws: Array, observed: float, left_out: Array) -> Interval | None:
    """Efron's bias-corrected and accelerated interval, widened for few items. None where nothing varies."""
    import numpy as np  # noqa: PLC0415 - an extra

    draws = draws[np.isfinite(draws)]
    items = len(left_out)
    if items < 2 or not len(draws) or float(draws.max() - draws.min()) < 1e-15:
        return None
    normal = NormalDist()
    below = float((draws < observed).mean() + (draws == observed).mean() / 2)
    shift = normal.inv_cdf(min(max(below, 1 / (len(draws) + 1)), 1 - 1 / (len(draws) + 1)))
    away = left_out.mean() - left_out
    scale = float((away**2).sum()) ** 1.5
    skew = float((away**3).sum()) / (6 * scale) if scale > 0 else 0.0
    reach = _reach(items)
    low, high = np.quantile(draws, [_moved(normal, shift, skew, point) for point in (-reach, reach)])
    return float(low), float(high)


def _reach(items: int) -> float:
    """How many standard errors the interval reaches: Student's 97.5 % point, times the bootstrap's own shortfall.

    Hesterberg 2015, The American Statistician 69:371, section 4.1 (expanded percentiles); the t quantile is
    Cornish-Fisher's, within 0.1 % from 10 items on.
    """
    z, free = NormalDist().inv_cdf(0.975), items - 1
    student = z + (z**3 + z) / (4 * free) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * free**2)
    return student * math.sqrt(items / free)


def _moved(normal: NormalDist, shift: float, skew: float, point: float) -> float:
    bend = 1 - skew * (shift + point)
    return normal.cdf(shift + (shift + point) / bend) if bend > 0 else 1.0
