"""Plots in SVG: lines over a scale, and bars."""

import html
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

_WIDTH, _HEIGHT = 860, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 84, 40, 24, 34
_COLOURS = ("#1f6feb", "#d29922", "#da3633")
_STEP_COUNT = 5
"""About so many lines of the grid."""

Format = Callable[[float], str]
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Axis:
    """From values to places: from `low` at the one end to `high` at the other."""

    low: float
    high: float
    is_log: bool
    write: Format

    def share(self, value: float) -> float:
        """Return where a value is, from 0 to 1."""
        if self.is_log:
            low = math.log(self.low)
            return (math.log(max(value, self.low)) - low) / (math.log(self.high) - low)
        return (value - self.low) / (self.high - self.low)

    def steps(self) -> Iterator[float]:
        """Yield the values at which the grid has a line."""
        if self.is_log:
            for power in range(math.ceil(math.log10(self.low)), int(math.log10(self.high)) + 1):
                yield 10.0**power
            return
        rough = (self.high - self.low) / _STEP_COUNT
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(unit * times for times in (1, 2, 5, 10) if unit * times >= rough)
        for number in range(math.ceil(self.low / step), int(self.high / step) + 1):
            yield number * step


def linear(values: Sequence[float], write: Format, low: float = 0.0) -> Axis:
    """Return an axis from `low` to the greatest of some values."""
    high = max(values, default=low)
    return Axis(low, high if high > low else low + 1, is_log=False, write=write)


def logarithmic(values: Sequence[float], write: Format) -> Axis:
    """Return an axis of whole powers of ten around some values above 0."""
    low = min((value for value in values if value > 0), default=1.0)
    high = max(max(values, default=low), low)
    first = 10.0 ** math.floor(math.log10(low))
    last = 10.0 ** math.ceil(math.log10(high))
    return Axis(first, last if last > first else first * 10, is_log=True, write=write)


def _x(axis: Axis, value: float) -> float:
    return _LEFT + axis.share(value) * (_WIDTH - _LEFT - _RIGHT)


def _y(axis: Axis, value: float) -> float:
    return _HEIGHT - _BOTTOM - axis.share(value) * (_HEIGHT - _TOP - _BOTTOM)


def _frame(title: str, across: Axis, up: Axis) -> Iterator[str]:
    """Yield the beginning of a plot, and its grid."""
    yield f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(title)}">'
    right, floor = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    for value in up.steps():
        y = _y(up, value)
        yield f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
        label = html.escape(up.write(value))
        yield f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{label}</text>'
    for value in across.steps():
        x = _x(across, value)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{floor}"/>'
        label = html.escape(across.write(value))
        yield f'<text x="{x:.1f}" y="{floor + 18}" text-anchor="middle">{label}</text>'


def plot_lines(
    title: str, lines: Sequence[tuple[str, Sequence[Point]]], across: Axis, up: Axis
) -> str:
    """Return a plot of lines, each with its name."""
    parts = list(_frame(title, across, up))
    for number, (name, points) in enumerate(lines):
        colour = _COLOURS[number % len(_COLOURS)]
        path = " ".join(f"{_x(across, x):.1f},{_y(up, y):.1f}" for x, y in points)
        parts.append(
            f'<polyline fill="none" stroke="{colour}" stroke-width="1.8" points="{path}"/>'
        )
        if len(lines) > 1:
            x = _LEFT + 10 + number * 60
            parts.append(f'<text x="{x}" y="14" style="fill:{colour}">{html.escape(name)}</text>')
    return "\n".join([*parts, "</svg>"])


def plot_bars(
    title: str, bars: Sequence[tuple[float, float, float]], across: Axis, up: Axis
) -> str:
    """Return a plot of bars: from, to, and how high."""
    parts = list(_frame(title, across, up))
    floor = _HEIGHT - _BOTTOM
    for low, high, value in bars:
        x, end, y = _x(across, low), _x(across, high), _y(up, value)
        parts.append(
            f'<rect fill="{_COLOURS[0]}" x="{x:.1f}" width="{max(end - x - 1, 1):.1f}" '
            f'y="{y:.1f}" height="{floor - y:.1f}"/>'
        )
    return "\n".join([*parts, "</svg>"])
