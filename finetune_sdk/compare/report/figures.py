"""The figures of the report as inline SVG. Colours are classes of the page's style sheet, one per candidate."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from finetune_sdk.compare.results import CurveResult
from finetune_sdk.evaluate.chart import ticks

COLOURS = 8
_WIDTH = 760.0
_LETTER, _LINE = 7.4, 15.0  # of a name at 13 px: an average letter's width, and the height of a line


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
    height = row * len(dots) + 58

    def place(value: float) -> float:
        return left + (value - marks[0]) / (marks[-1] - marks[0]) * (width - left - 24)

    grid = "".join(
        f'<line class="grid" x1="{place(mark):.1f}" x2="{place(mark):.1f}" y1="6" y2="{height - 46:.0f}"/>'
        f'<text class="tick" x="{place(mark):.1f}" y="{height - 28:.0f}" text-anchor="middle">{mark:g}</text>'
        for mark in marks
    )
    rows = "".join(_interval_row(one, index * row + 22, place) for index, one in enumerate(dots))
    return (
        f"{_svg(width, height, title)}{grid}{rows}"
        f'<text class="axis" x="{width - 24:.0f}" y="{height - 6:.0f}" text-anchor="end">{escape(title)}</text></svg>'
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


def scatter(
    dots: Sequence[Dot], *, x_title: str, y_title: str, log: bool = False, at: Sequence[float] | None = None
) -> str:
    """Quality against something; names beside the dots. Empty for fewer than two.

    `log`: orders of magnitude are equally far apart. `at`: values of x that the axis names; None = round numbers.
    """
    if len(dots) < 2:
        return ""
    room = _LETTER * max(len(_short(one.name)) for one in dots) + 20
    plot = _Plot(_x_marks(dots, log=log, at=at), _y_marks(dots), log=log, right=_WIDTH - room)
    placed = [(plot.x(one.x), plot.y(one.y), one) for one in dots]
    wanted = [(x + 11, y + 4, _LETTER * len(_short(one.name))) for x, y, one in placed]
    labels = apart(wanted, plot.bottom - 6, around=[(x, y) for x, y, _ in placed])
    marks = "".join(_dot_marks(plot, x, y, label, one) for (x, y, one), label in zip(placed, labels, strict=True))
    marks += "".join(  # names over everything else
        f'<text class="name" x="{x + 11:.1f}" y="{label:.1f}">{escape(_short(one.name))}</text>'
        for (x, _, one), label in zip(placed, labels, strict=True)
    )
    told = f"{y_title} against {x_title}: " + "; ".join(f"{one.name} {one.x:.3g}, {one.y:.3g}" for one in dots)
    return (
        f"{_svg(plot.width, plot.height, told)}{plot.grid(at)}{marks}"
        f'<text class="axis" x="{plot.right:.0f}" y="{plot.height - 4:.0f}" text-anchor="end">{escape(x_title)}</text>'
        f'<text class="axis" x="8" y="12">{escape(y_title)}</text></svg>'
    )


@dataclass(frozen=True, slots=True)
class _Plot:
    """Where values stand in a scatter plot."""

    x_marks: Sequence[float]
    """From the left edge to the right one; logarithms where `log`."""
    y_marks: Sequence[float]
    log: bool
    right: float
    """The rest is for names."""
    width: float = _WIDTH
    height: float = 350.0
    left: float = 60.0
    top: float = 26.0
    bottom: float = 304.0

    def x(self, value: float) -> float:
        return self._across(math.log10(value) if self.log else value)

    def y(self, value: float) -> float:
        first, last = self.y_marks[0], self.y_marks[-1]
        return self.bottom - (value - first) / (last - first) * (self.bottom - self.top)

    def _across(self, mark: float) -> float:
        first, last = self.x_marks[0], self.x_marks[-1]
        return self.left + (mark - first) / (last - first) * (self.right - self.left)

    def grid(self, at: Sequence[float] | None) -> str:
        lines = "".join(
            f'<line class="grid" x1="{self.left}" x2="{self.right}" y1="{self.y(mark):.1f}" y2="{self.y(mark):.1f}"/>'
            f'<text class="tick" x="{self.left - 8}" y="{self.y(mark) + 4:.1f}" text-anchor="end">{mark:g}</text>'
            for mark in self.y_marks
        )
        named = (
            [(self.x(value), value) for value in at]
            if at is not None
            else [(self._across(mark), 10**mark if self.log else mark) for mark in self.x_marks]
        )
        return lines + "".join(
            f'<text class="tick" x="{x:.1f}" y="{self.bottom + 20:.0f}" text-anchor="middle">{value:g}</text>'
            for x, value in named
        )


def _dot_marks(plot: _Plot, x: float, y: float, label: float, one: Dot) -> str:
    shade = f"c{one.place % COLOURS}"
    marks = ""
    if one.low is not None and one.high is not None:
        ends = f'y1="{plot.y(one.low):.1f}" y2="{plot.y(one.high):.1f}"'
        marks += f'<line class="whisker thin {shade}" x1="{x:.1f}" x2="{x:.1f}" {ends}/>'
    if abs(label - y - 4) > 9:  # the name stands elsewhere: a line leads to it
        marks += f'<line class="lead-line" x1="{x + 5:.1f}" y1="{y:.1f}" x2="{x + 10:.1f}" y2="{label - 4:.1f}"/>'
    return f'{marks}<circle class="mark {shade}" cx="{x:.1f}" cy="{y:.1f}" r="5.5"/>'


def apart(
    labels: Sequence[tuple[float, float, float]], lowest: float, around: Sequence[tuple[float, float]] = ()
) -> list[float]:
    """Baselines for labels that want to stand at (x, y) and are so wide, moved until none covers another one.

    None stands below `lowest`, and none on a dot of `around` where that can be helped.
    """
    found: dict[int, float] = {}
    for index in sorted(range(len(labels)), key=lambda index: labels[index][1]):
        x, y, width = labels[index]
        near = [
            found[other] for other in found if labels[other][0] < x + width and x < labels[other][0] + labels[other][2]
        ]
        wanted = min(y, lowest)
        dots = [at for across, at in around if x - 4 < across < x + width]
        steps = (
            *(at + sign * _LINE for at in near for sign in (1, -1)),
            *(at + by for at in dots for by in (20.0, -12.0)),
        )
        places = sorted((wanted, *steps), key=lambda at: abs(at - wanted))
        free = [at for at in places if at <= lowest and all(abs(at - one) >= _LINE - 0.01 for one in near)]
        clear = (at for at in free if all(not at - 14 < dot < at + 6 for dot in dots))
        found[index] = next(clear, next(iter(free), wanted))
    return [found[index] for index in range(len(labels))]


def _x_marks(dots: Sequence[Dot], *, log: bool, at: Sequence[float] | None) -> list[float]:
    xs = [math.log10(one.x) if log else one.x for one in dots]
    if at is not None:
        room = 0.05 * (max(xs) - min(xs) or 1.0)
        return [min(xs) - room, max(xs) + room]
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


def curve(found: CurveResult, unit: float, title: str) -> str:
    """The learning curve and what it foretells, on a logarithmic axis of rows."""
    dots = [
        Dot(
            f"{one.rows:,} rows",
            0,
            float(one.rows),
            one.score.value * unit,
            *_scaled(one.score.low, one.score.high, unit),
        )
        for one in found.points
    ]
    if found.foretold_rows is not None and found.gain is not None and dots:
        now = found.points[-1].score.value
        low, high = (None if gain is None else now + gain for gain in (found.gain_low, found.gain_high))
        then = (now + found.gain) * unit
        dots.append(Dot("foretold", COLOURS - 1, float(found.foretold_rows), then, *_scaled(low, high, unit)))
    return scatter(dots, x_title="training rows", y_title=title, log=True, at=[one.x for one in dots])


def _scaled(low: float | None, high: float | None, unit: float) -> tuple[float | None, float | None]:
    return (None if low is None else low * unit, None if high is None else high * unit)


def _svg(width: float, height: float, told: str) -> str:
    return f'<svg class="chart" viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(told)}">'


def _short(name: str) -> str:
    return name if len(name) <= 26 else name[:25] + "…"
