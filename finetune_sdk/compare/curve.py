"""Would more data help? The score on growing shares of the training rows, and what a power law foretells from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from finetune_sdk.compare.results import CurvePoint, CurveResult, Score
from finetune_sdk.compare.statistics import Measured, compare, resampled

if TYPE_CHECKING:
    from finetune_sdk.compare.statistics import Array

_POWERS = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5)  # of n in score = a - b * n^-c; Hestness et al. 2017 find 0.07 to 0.5


def foretold(
    candidate: str, measured: Mapping[int, Measured], *, times: float, seed: int, unit: float, higher: bool, title: str
) -> CurveResult:
    """The curve through the scores by number of rows, and the gain from `times` as many rows.

    The interval comes from resampling the test rows. Training again with another seed, and a law that does not hold,
    are not in it, and the sentence says so.
    """
    import numpy as np  # noqa: PLC0415 - an extra

    rows = sorted(measured)
    named = {str(count): measured[count] for count in rows}
    standing = compare(named, seed=seed, resamples=1_000)
    points = tuple(
        CurvePoint(rows=count, score=_score(named[str(count)], standing.intervals[str(count)])) for count in rows
    )
    if len(rows) < 3:
        return CurveResult(candidate=candidate, points=points, sentence="A forecast needs three shares at least.")
    draws = resampled(named, seed=seed, resamples=1_000)
    table = np.column_stack([draws[str(count)] for count in rows])
    sign = 1.0 if higher else -1.0
    best = 1.0 if unit == 100 else None  # a share ends at 1
    seen = np.array([[named[str(count)].score for count in rows]])
    gain = float(_gains(rows, sign * seen, times, best if higher else None)[0])
    low, high = np.quantile(_gains(rows, sign * table, times, best if higher else None), [0.025, 0.975])
    more = round(rows[-1] * times)
    return CurveResult(
        candidate=candidate,
        points=points,
        foretold_rows=more,
        gain=gain,
        gain_low=float(low),
        gain_high=float(high),
        sentence=_sentence(more, (gain, float(low), float(high)), unit, title),
    )


def _score(one: Measured, bounds: tuple[float, float] | None) -> Score:
    low, high = bounds or (None, None)
    return Score(value=one.score, low=low, high=high)


def _gains(rows: Sequence[int], scores: Array, times: float, most: float | None) -> Array:
    """For each line of scores the power law that fits best (least squares), and its rise from the last point on."""
    import numpy as np  # noqa: PLC0415 - an extra

    least = np.full(len(scores), np.inf)
    gains = np.zeros(len(scores))
    count = np.asarray(rows, dtype=np.float64)
    for power in _POWERS:
        falling = count**-power
        design = np.column_stack([np.ones(len(rows)), -falling])
        fitted, *_ = np.linalg.lstsq(design, scores.T, rcond=None)
        slope = np.maximum(fitted[1], 0.0)  # more rows do no harm, as far as a forecast goes
        level = (scores + slope[:, None] * falling).mean(axis=1)
        misfit = ((scores - (level[:, None] - slope[:, None] * falling)) ** 2).sum(axis=1)
        last = level - slope * falling[-1]
        then = level - slope * (count[-1] * times) ** -power
        then = then if most is None else np.minimum(then, most)
        better = misfit < least
        gains = np.where(better, np.maximum(then - last, 0.0), gains)
        least = np.where(better, misfit, least)
    return gains


def _sentence(rows: int, gain: tuple[float, float, float], unit: float, title: str) -> str:
    value, low, high = (f"{one * unit:.1f}" for one in gain)
    what = "points of " if unit == 100 else "of "
    head = f"With {rows:,} training rows about {value} {what}{title} more are to be expected (95 % {low} to {high})"
    return f"{head}, if the curve goes on as it went; the interval knows of the test rows only."
