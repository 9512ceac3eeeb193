"""Inline SVG charts: a loss curve, intervals side by side. Colours come from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

Point = tuple[float, float]

_WIDTH, _HEIGHT = 760.0, 300.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 56.0, 16.0, 14.0, 40.0
_MOST_POINTS = 400


def loss_curve(train: Sequence[Point], held_out: Sequence[Point]) -> str:
    """Loss over steps: a line for training, a dotted one for held-out rows. Empty for fewer than two points."""
    if len(train) < 2:
        return ""
    thin = _thinned(train)
    shown = [*thin, *held_out]
    x_ticks = ticks(min(x for x, _ in shown), max(x for x, _ in shown), 8)
    y_ticks = ticks(min(0.0, *(y for _, y in shown)), max(y for _, y in shown), 5)
    scale = _Scale(x_ticks, y_ticks)
    dots = "".join(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in map(scale.place, held_out))
    told = escape(_told(train, held_out))
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" role="img" aria-label="{told}">'
        f"{_grid(scale, x_ticks, y_ticks)}"
        f'<path class="area" d="{_line(scale, thin)} L{scale.x(thin[-1][0]):.1f} {scale.y(y_ticks[0]):.1f}'
        f' L{scale.x(thin[0][0]):.1f} {scale.y(y_ticks[0]):.1f} Z"/>'
        f'<path class="train" d="{_line(scale, thin)}"/>'
        + (f'<path class="held-out" d="{_line(scale, held_out)}"/>{dots}' if held_out else "")
        + f'<text class="axis" x="{_WIDTH - _RIGHT:.0f}" y="{_HEIGHT - 4:.0f}" text-anchor="end">step</text></svg>'
    )


def intervals(base: tuple[float, float, float] | None, tuned: tuple[float, float, float]) -> str:
    """Two shares from 0 to 1 as dots with whiskers; each is (value, low, high)."""
    rows = [("base", base, 13.0), ("tuned", tuned, 31.0)]
    marks = "".join(_whisker(name, share, y) for name, share, y in rows if share is not None)
    grid = "".join(
        f'<line class="grid" x1="{_share_x(tick):.1f}" x2="{_share_x(tick):.1f}" y1="4" y2="40"/>'
        for tick in (0, 0.25, 0.5, 0.75, 1)
    )
    return f'<svg class="intervals" viewBox="0 0 260 44" aria-hidden="true">{grid}{marks}</svg>'


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers that cover the range."""
    if not high > low:
        high = low + 1.0
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


class _Scale:
    def __init__(self, x_ticks: Sequence[float], y_ticks: Sequence[float]) -> None:
        self._x0, self._x1, self._y0, self._y1 = x_ticks[0], x_ticks[-1], y_ticks[0], y_ticks[-1]

    def x(self, value: float) -> float:
        return _LEFT + (value - self._x0) / (self._x1 - self._x0) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - (value - self._y0) / (self._y1 - self._y0) * (_HEIGHT - _TOP - _BOTTOM)

    def place(self, point: Point) -> Point:
        return self.x(point[0]), self.y(point[1])


def _grid(scale: _Scale, x_ticks: Sequence[float], y_ticks: Sequence[float]) -> str:
    lines = [
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{scale.y(tick):.1f}" y2="{scale.y(tick):.1f}"/>'
        f'<text class="tick" x="{_LEFT - 8}" y="{scale.y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>'
        for tick in y_ticks
    ]
    lines += [
        f'<text class="tick" x="{scale.x(tick):.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{tick:,g}</text>'
        for tick in x_ticks
    ]
    return "".join(lines)


def _line(scale: _Scale, points: Sequence[Point]) -> str:
    return "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in map(scale.place, points))


def _thinned(points: Sequence[Point]) -> list[Point]:
    """At most 400 points: means of neighbours, the last one kept as it is."""
    size = math.ceil(len(points) / _MOST_POINTS)
    if size == 1:
        return list(points)
    groups = [points[start : start + size] for start in range(0, len(points) - 1, size)]
    means = [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]
    return [*means, points[-1]]


def _told(train: Sequence[Point], held_out: Sequence[Point]) -> str:
    text = f"Loss curve: training loss from {train[0][1]:.3g} to {train[-1][1]:.3g} over {train[-1][0]:.0f} steps"
    return text + (f"; held-out loss from {held_out[0][1]:.3g} to {held_out[-1][1]:.3g}" if held_out else "")


def _share_x(share: float) -> float:
    return 8 + share * 244


def _whisker(name: str, share: tuple[float, float, float], y: float) -> str:
    value, low, high = (_share_x(number) for number in share)
    return (
        f'<line class="whisker {name}" x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}"/>'
        f'<circle class="mark {name}" cx="{value:.1f}" cy="{y}" r="5"/>'
    )
