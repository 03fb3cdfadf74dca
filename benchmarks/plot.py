"""Draws plots as SVG, without a library: bars side by side, and lines over two decimal scales.

A plot carries both its colours, for a light page and for a dark one, and its own ground under them,
as a page that shows it as an image decides neither.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

COLOURS = {
    "ground": ("#ffffff", "#0d1117"),
    "frame": ("#d1d9e0", "#3d444d"),
    "grid": ("#e6eaef", "#21262d"),
    "text": ("#1f2328", "#e6edf3"),
    "quiet": ("#59636e", "#9198a1"),
    "c0": ("#0969da", "#4493f8"),
    "c1": ("#afb8c1", "#57606a"),
    "c2": ("#bc4c00", "#f0883e"),
    "c3": ("#8250df", "#ab7df8"),
    "c4": ("#1a7f37", "#3fb950"),
    "c5": ("#bf3989", "#db61a2"),
    "c6": ("#9a6700", "#d29922"),
    "floor": ("#6e7781", "#9198a1"),
}
"""What is drawn, on a light ground and on a dark one; c0 to c6 are those of series."""

WIDTH, MARGIN, GAP = 860, 24, 40
PANEL_WIDTH = (WIDTH - 2 * MARGIN - GAP) / 2
HEADING_HEIGHT = 62
"""Room for a plot's title and the sentence under it."""
TITLE_HEIGHT = 48
"""Room for a panel's title and its unit."""
ROW_HEIGHT, BAR_HEIGHT = 23, 13
NAME_WIDTH, VALUE_WIDTH = 128, 52
LINES_HEIGHT, TICK_WIDTH, LABEL_WIDTH = 250, 46, 104
LABEL_HEIGHT = 14
"""Names at the ends of lines are at least so far apart."""


@dataclass(frozen=True)
class Bars:
    """One panel: a title, a unit, and (name, value) pairs; the first is drawn in its own colour."""

    title: str
    unit: str
    values: Sequence[tuple[str, float]]


@dataclass(frozen=True)
class Lines:
    """One panel: a title, what the scales are, and for each name its (x, y) points.

    `x_ticks` are (place, label) on the horizontal scale; beyond the points they are left out.
    """

    title: str
    unit: str
    x_ticks: Sequence[tuple[float, str]]
    series: dict[str, Sequence[tuple[float, float]]]


def draw_bars(title: str, sentence: str, panels: Sequence[Bars]) -> str:
    """Draw panels of bars in two columns, each on a scale of its own that begins at 0."""
    tops, bottom = [], float(HEADING_HEIGHT)
    for first in range(0, len(panels), 2):
        tops += [bottom, bottom]
        rows = max(len(panel.values) for panel in panels[first : first + 2])
        bottom += TITLE_HEIGHT + rows * ROW_HEIGHT + 26
    parts: list[str] = []
    for number, (panel, top) in enumerate(zip(panels, tops, strict=False)):
        left = MARGIN + number % 2 * (PANEL_WIDTH + GAP)
        parts += draw_panel_title(panel.title, panel.unit, left, top)
        parts += draw_rows(panel, left, top + TITLE_HEIGHT)
    return frame_plot(title, sentence, bottom, parts)


def draw_rows(panel: Bars, left: float, top: float) -> list[str]:
    """Draw the bars of one panel, with their names before and their values behind."""
    parts = []
    most = max(value for _, value in panel.values)
    room = PANEL_WIDTH - NAME_WIDTH - VALUE_WIDTH
    for number, (name, value) in enumerate(panel.values):
        middle = top + number * ROW_HEIGHT + ROW_HEIGHT / 2
        width = max(room * value / most, 1.5)
        kind = "c0" if number == 0 else "floor" if name.startswith("floor") else "c1"
        strong = " strong" if number == 0 else ""
        parts += [
            write(name, left + NAME_WIDTH - 10, middle + 4, f"label{strong}", "end"),
            f'<rect class="{kind}" x="{left + NAME_WIDTH:.1f}" y="{middle - BAR_HEIGHT / 2:.1f}" '
            f'width="{width:.1f}" height="{BAR_HEIGHT}" rx="2"/>',
            write(
                shorten(value), left + NAME_WIDTH + width + 7, middle + 4, f"value{strong}", "start"
            ),
        ]
    return parts


def draw_lines(title: str, sentence: str, panels: Sequence[Lines]) -> str:
    """Draw two panels of lines side by side, both scales of each by powers."""
    names = list(dict.fromkeys(name for panel in panels for name in panel.series))
    parts: list[str] = []
    for number, panel in enumerate(panels):
        left = MARGIN + number * (PANEL_WIDTH + GAP)
        parts += draw_panel_title(panel.title, panel.unit, left, HEADING_HEIGHT)
        parts += draw_curves(panel, names, left, HEADING_HEIGHT + TITLE_HEIGHT)
    return frame_plot(title, sentence, HEADING_HEIGHT + TITLE_HEIGHT + LINES_HEIGHT + 44, parts)


def draw_curves(panel: Lines, names: Sequence[str], left: float, top: float) -> list[str]:
    """Draw the scales and the lines of one panel; each line's name stands at its end."""
    points = [point for line in panel.series.values() for point in line]
    low_x, high_x = (math.log10(end([x for x, _ in points])) for end in (min, max))
    low_y = math.floor(math.log10(min(y for _, y in points)))
    high_y = math.ceil(math.log10(max(y for _, y in points)))
    first, width = left + TICK_WIDTH, PANEL_WIDTH - TICK_WIDTH - LABEL_WIDTH

    def place_x(value: float) -> float:
        return first + (math.log10(value) - low_x) / (high_x - low_x) * width

    def place_y(value: float) -> float:
        return top + (high_y - math.log10(value)) / (high_y - low_y) * LINES_HEIGHT

    parts = []
    for power in range(low_y, high_y + 1):
        y = place_y(10.0**power)
        parts += [
            f'<path class="grid" d="M{first:.1f} {y:.1f}h{width:.1f}"/>',
            write(name_time(10.0**power), first - 8, y + 4, "tick", "end"),
        ]
    parts += [
        write(label, place_x(value), top + LINES_HEIGHT + 20, "tick", "middle")
        for value, label in panel.x_ticks
        if low_x <= math.log10(value) <= high_x
    ]
    ends = []
    for name, line in panel.series.items():
        kind = choose_colour(name, names)
        way = " ".join(f"{place_x(x):.1f},{place_y(y):.1f}" for x, y in line)
        parts.append(f'<polyline class="line {kind}-line" points="{way}"/>')
        parts += [
            f'<circle class="{kind}" cx="{place_x(x):.1f}" cy="{place_y(y):.1f}" r="2.6"/>'
            for x, y in line
        ]
        ends.append((place_y(line[-1][1]), name, kind))
    for y, name, kind in spread_labels(ends):
        strong = " strong" if kind == "c0" else ""
        parts.append(write(name, first + width + 10, y + 4, f"label {kind}-text{strong}", "start"))
    return parts


def choose_colour(name: str, names: Sequence[str]) -> str:
    """Choose a class: that of the floor, or one for the place among the others."""
    if name.startswith("floor"):
        return "floor"
    others = [one for one in names if not one.startswith("floor")]
    kinds = ("c0", "c2", "c3", "c4", "c5", "c6")
    return kinds[others.index(name) % len(kinds)]


def spread_labels(ends: Iterable[tuple[float, str, str]]) -> list[tuple[float, str, str]]:
    """Move labels that are too close apart, each group as far up as down."""
    groups: list[list[tuple[float, str, str]]] = []
    for one in sorted(ends):
        groups.append([one])
        while len(groups) > 1 and find_gap(groups[-2], groups[-1]) < LABEL_HEIGHT:
            last = groups.pop()
            groups[-1] += last
    return [label for group in groups for label in stack_labels(group)]


def stack_labels(group: Sequence[tuple[float, str, str]]) -> list[tuple[float, str, str]]:
    """Put the labels of a group one under the other, around the middle of where they belong."""
    middle = sum(y for y, _, _ in group) / len(group)
    first = middle - LABEL_HEIGHT * (len(group) - 1) / 2
    return [
        (first + number * LABEL_HEIGHT, name, kind) for number, (_, name, kind) in enumerate(group)
    ]


def find_gap(
    above: Sequence[tuple[float, str, str]], below: Sequence[tuple[float, str, str]]
) -> float:
    """Return how far the first label of one group is under the last of another."""
    return stack_labels(below)[0][0] - stack_labels(above)[-1][0]


def draw_panel_title(title: str, unit: str, left: float, top: float) -> list[str]:
    """Write a panel's title and its unit."""
    return [
        write(title, left, top + 14, "title", "start"),
        write(unit, left, top + 31, "unit", "start"),
    ]


def write(text: str, x: float, y: float, kind: str, anchor: str) -> str:
    """Make a text element."""
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
    )


def shorten(value: float) -> str:
    """Write a value with about three digits."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def name_time(value_us: float) -> str:
    """Write a time given in µs, a power of ten, with the unit that suits it."""
    for unit, size in (("s", 1e6), ("ms", 1e3), ("µs", 1.0)):
        if value_us >= size:
            return f"{value_us / size:.0f} {unit}"
    return f"{value_us:g} µs"


def frame_plot(title: str, sentence: str, height: float, parts: Sequence[str]) -> str:
    """Put a heading, a ground and the colours around what was drawn."""
    heading = [
        write(title, MARGIN, 30, "heading", "start"),
        write(sentence, MARGIN, 48, "unit", "start"),
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" '
            f'width="{WIDTH}" height="{height:.0f}" role="img" aria-labelledby="title about">',
            f'<title id="title">{escape(title)}</title>',
            f'<desc id="about">{escape(sentence)}</desc>',
            f"<style>{write_style()}</style>",
            f'<rect class="ground" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1:.0f}" '
            'rx="8"/>',
            *heading,
            *parts,
            "</svg>\n",
        ]
    )


def write_style() -> str:
    """Write the style sheet: shapes and letters, and the colours for both kinds of page."""
    names = list(COLOURS)

    def colour(which: int) -> str:
        return "".join(f"--{name}:{COLOURS[name][which]};" for name in names)

    series = [name for name in names if name[0] == "c" and name[1:].isdigit()] + ["floor"]
    rules = [
        f"svg{{{colour(0)}font-family:system-ui,-apple-system,'Segoe UI',sans-serif;"
        "font-size:12.5px;font-variant-numeric:tabular-nums}",
        f"@media(prefers-color-scheme:dark){{svg{{{colour(1)}}}}}",
        ".ground{fill:var(--ground);stroke:var(--frame)}",
        "text{fill:var(--text)}.unit,.tick,.value{fill:var(--quiet)}.tick{font-size:11.5px}",
        ".heading{font-size:17px;font-weight:600}.title{font-size:13.5px;font-weight:600}",
        ".strong{font-weight:600;fill:var(--text)}",
        ".grid{stroke:var(--grid);fill:none}",
        ".line{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}",
        ".floor-line{stroke-dasharray:5 4}",
    ]
    rules += [
        f".{name}{{fill:var(--{name})}}.{name}-line{{stroke:var(--{name})}}"
        f"text.{name}-text{{fill:var(--{name})}}"
        for name in series
    ]
    return "".join(rules)
