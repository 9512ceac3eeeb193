"""The figures of the report as inline SVG. Colours are classes of the page's style sheet, one per candidate."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from finetune_sdk.compare.results import CurveResult
from finetune_sdk.evaluate.chart import ticks

COLOURS = 8


@dataclass(frozen=True, slots=True)
class Dot:
    """A candidate in a scatter or interval plot."""

    name: str
    place: int
    """Rank; says its colour."""
    x: float
    y: float
    low: float | None = None
    """Interval of y (or of x in an interval plot)."""
    high: float | None = None


def intervals(dots: Sequence[Dot], *, title: str) -> str:
    """A row for each candidate: a dot and its 95 % interval. `x` is the score."""
    low = min(one.low if one.low is not None else one.x for one in dots)
    high = max(one.high if one.high is not None else one.x for one in dots)
    marks = ticks(low, high, 6)
    left, width, row = 210.0, 760.0, 30.0
    height = row * len(dots) + 44

    def place(value: float) -> float:
        return left + (value - marks[0]) / (marks[-1] - marks[0]) * (width - left - 24)

    grid = "".join(
        f'<line class="grid" x1="{place(mark):.1f}" x2="{place(mark):.1f}" y1="6" y2="{height - 32:.0f}"/>'
        f'<text class="tick" x="{place(mark):.1f}" y="{height - 14:.0f}" text-anchor="middle">{mark:g}</text>'
        for mark in marks
    )
    rows = "".join(_interval_row(one, index * row + 22, place) for index, one in enumerate(dots))
    return (
        f"{_svg(width, height, title)}{grid}{rows}"
        f'<text class="axis" x="{width - 24:.0f}" y="{height - 1:.0f}" text-anchor="end">{escape(title)}</text></svg>'
    )


def _interval_row(one: Dot, y: float, place: Callable[[float], float]) -> str:
    whisker = ""
    if one.low is not None and one.high is not None:
        whisker = (
            f'<line class="whisker c{one.place % COLOURS}" x1="{place(one.low):.1f}" x2="{place(one.high):.1f}" '
            f'y1="{y:.1f}" y2="{y:.1f}"/>'
        )
    return (
        f'<text class="name" x="196" y="{y + 4:.1f}" text-anchor="end">{escape(_short(one.name))}</text>{whisker}'
        f'<circle class="mark c{one.place % COLOURS}" cx="{place(one.x):.1f}" cy="{y:.1f}" r="5"/>'
    )


def scatter(dots: Sequence[Dot], *, x_title: str, y_title: str, log: bool = False) -> str:
    """Quality against something; names beside the dots. Empty for fewer than two."""
    if len(dots) < 2:
        return ""
    width, height, left, right, top, bottom = 760.0, 340.0, 60.0, 150.0, 14.0, 44.0
    xs = [math.log10(one.x) if log else one.x for one in dots]
    x_marks, y_marks = _x_marks(xs, log=log), _y_marks(dots)

    def at(x: float, y: float) -> tuple[float, float]:
        across = left + (x - x_marks[0]) / (x_marks[-1] - x_marks[0]) * (width - left - right)
        down = height - bottom - (y - y_marks[0]) / (y_marks[-1] - y_marks[0]) * (height - top - bottom)
        return across, down

    grid = "".join(
        f'<line class="grid" x1="{left}" x2="{width - right}" y1="{at(x_marks[0], mark)[1]:.1f}" '
        f'y2="{at(x_marks[0], mark)[1]:.1f}"/><text class="tick" x="{left - 8}" y="{at(x_marks[0], mark)[1] + 4:.1f}" '
        f'text-anchor="end">{mark:g}</text>'
        for mark in y_marks
    )
    grid += "".join(
        f'<text class="tick" x="{at(mark, y_marks[0])[0]:.1f}" y="{height - bottom + 18:.0f}" text-anchor="middle">'
        f"{10**mark if log else mark:g}</text>"
        for mark in x_marks
    )
    placed = sorted(
        ((*at(x, one.y), one) for x, one in zip(xs, dots, strict=True)), key=lambda triple: (triple[1], triple[0])
    )
    marks, label = "", -math.inf
    for x, y, one in placed:
        label = max(y + 4, label + 14)  # names that would overlap move down
        whisker = ""
        if one.low is not None and one.high is not None:
            low, high = at(x_marks[0], one.low)[1], at(x_marks[0], one.high)[1]
            whisker = (
                f'<line class="whisker thin c{one.place % COLOURS}" x1="{x:.1f}" x2="{x:.1f}" '
                f'y1="{low:.1f}" y2="{high:.1f}"/>'
            )
        marks += (
            f'{whisker}<circle class="mark c{one.place % COLOURS}" cx="{x:.1f}" cy="{y:.1f}" r="5.5"/>'
            f'<text class="name" x="{x + 11:.1f}" y="{label:.1f}">{escape(_short(one.name))}</text>'
        )
    told = f"{y_title} against {x_title}: " + "; ".join(f"{one.name} {one.x:.3g}, {one.y:.3g}" for one in dots)
    return (
        f"{_svg(width, height, told)}{grid}{marks}"
        f'<text class="axis" x="{width - right:.0f}" y="{height - 4:.0f}" text-anchor="end">{escape(x_title)}</text>'
        "</svg>"
    )


def _x_marks(xs: Sequence[float], *, log: bool) -> list[float]:
    if log:
        low, high = math.floor(min(xs)), math.ceil(max(xs))
        return [float(mark) for mark in range(low, max(high, low + 1) + 1)]
    return ticks(min(0.0, *xs), max(xs), 6)


def _y_marks(dots: Sequence[Dot]) -> list[float]:
    low = min(one.low if one.low is not None else one.y for one in dots)
    high = max(one.high if one.high is not None else one.y for one in dots)
    return ticks(low, high, 5)


def losses(series: Sequence[tuple[str, int, Sequence[tuple[int, float]]]]) -> str:
    """Training losses over steps: (name, rank, points). Empty without points."""
    drawn = [one for one in series if len(one[2]) > 1]
    if not drawn:
        return ""
    width, height, left, right, top, bottom = 760.0, 300.0, 60.0, 16.0, 14.0, 40.0
    points = [point for _, _, line in drawn for point in line]
    x_marks = ticks(0, max(x for x, _ in points), 8)
    y_marks = ticks(min(0.0, *(y for _, y in points)), max(y for _, y in points), 5)

    def at(x: float, y: float) -> str:
        across = left + (x - x_marks[0]) / (x_marks[-1] - x_marks[0]) * (width - left - right)
        down = height - bottom - (y - y_marks[0]) / (y_marks[-1] - y_marks[0]) * (height - top - bottom)
        return f"{across:.1f} {down:.1f}"

    grid = ""
    for mark in y_marks:
        y = at(0, mark).split()[1]
        grid += f'<line class="grid" x1="{left}" x2="{width - right}" y1="{y}" y2="{y}"/>'
        grid += f'<text class="tick" x="{left - 8}" y="{float(y) + 4:.1f}" text-anchor="end">{mark:g}</text>'
    grid += "".join(
        f'<text class="tick" x="{at(mark, 0).split()[0]}" y="{height - bottom + 18:.0f}" text-anchor="middle">'
        f"{mark:g}</text>"
        for mark in x_marks
    )
    lines = "".join(
        f'<path class="line c{place % COLOURS}" d="M{" L".join(at(x, y) for x, y in line)}"/>'
        for _, place, line in drawn
    )
    told = "Training loss: " + "; ".join(f"{name} ends at {line[-1][1]:.3g}" for name, _, line in drawn)
    return (
        f"{_svg(width, height, told)}{grid}{lines}"
        f'<text class="axis" x="{width - right:.0f}" y="{height - 4:.0f}" text-anchor="end">step</text></svg>'
    )


def curve(found: CurveResult, unit: float) -> str:
    """The learning curve, on a logarithmic axis of rows."""
    dots = [
        Dot(
            f"{point.rows:,} rows",
            0,
            float(point.rows),
            point.score.value * unit,
            None if point.score.low is None else point.score.low * unit,
            None if point.score.high is None else point.score.high * unit,
        )
        for point in found.points
    ]
    return scatter(dots, x_title="training rows", y_title="score", log=True)


def _svg(width: float, height: float, told: str) -> str:
    return f'<svg class="chart" viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(told)}">'


def _short(name: str) -> str:
    return name if len(name) <= 26 else name[:25] + "…"
