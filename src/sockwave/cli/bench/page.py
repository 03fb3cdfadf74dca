"""The figures of a load as a page: one file, plots in SVG, nothing that is fetched."""

import html

from sockwave.cli.bench.hdr import Histogram
from sockwave.cli.bench.plots import Axis, linear, logarithmic, plot_bars, plot_lines
from sockwave.cli.bench.report import describe_plan, group
from sockwave.cli.bench.results import (
    PERCENTILES,
    Results,
    Tick,
    format_size,
    format_time,
    name_percentile,
)

_STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 900px; margin: 2em auto; padding: 0 1em }
table { border-collapse: collapse } td, th { padding: .15em .9em .15em 0; text-align: right }
th { font-weight: 600 } td:first-child, th:first-child { text-align: left }
svg { width: 100%; height: auto } svg text { font-size: 12px; fill: currentColor }
.grid { stroke: currentColor; opacity: .15 } .note { color: #9a6700 }
"""
# The page needs nothing from anywhere, and gets nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_LINE_SHARES = {"p50": 0.5, "p99": 0.99, "max": 1.0}
#: Of the plot by percentiles: up to 99.9999 %.
_NINES = 6


def make_page(results: Results) -> str:
    """Return the page."""
    what = html.escape(describe_plan(results))
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width">',
        f"<title>sockwave bench: {what}</title><style>{_STYLE}</style></head><body>",
        f"<h1>sockwave bench</h1><p>{what}</p>",
        *_tell_notes(results),
        _make_totals(results),
    ]
    # The last one may be too short to have a rate, as of a load that ends with its count.
    ticks = [tick for tick in results.ticks if tick.seconds > results.plan.tick / 2]
    if ticks and results.plan.mode != "idle":
        unit = "Handshakes" if results.plan.mode == "handshake" else "Replies"
        parts += [f"<h2>{unit} a second</h2>", _plot_rates(ticks, unit)]
    if results.latencies.count:
        if ticks:
            parts += ["<h2>Latency over time</h2>", _plot_latencies(ticks)]
        parts += ["<h2>Latency by percentile</h2>", _plot_percentiles(results.latencies)]
        parts += ["<h2>Latencies</h2>", _plot_histogram(results.latencies)]
    return "\n".join([*parts, "</body></html>", ""])


def _tell_notes(results: Results) -> list[str]:
    """Return what a reader has to know before the figures."""
    notes = []
    if results.is_interrupted:
        notes.append("Interrupted: these are the figures so far.")
    if results.error is not None:
        notes.append(f"Ended by an error: {results.error}")
    if results.missing:
        notes.append(f"{results.missing:,} replies are missing, and count as late as they are.")
    if results.is_busy:
        notes.append("The load generator used nearly all of a processor.")
    return [f'<p class="note">{html.escape(note)}</p>' for note in notes]


def _make_totals(results: Results) -> str:
    """Return the table of figures."""
    rows = [
        ("count", f"{results.count:,}"),
        ("seconds", f"{results.seconds:.2f}"),
        ("a second", f"{results.rate:,.0f}"),
        ("bytes of replies", format_size(results.size)),
        ("processor time of the load", f"{results.cpu_s:.2f} s"),
    ]
    latencies = results.latencies
    if latencies.count:
        rows.append(("mean", format_time(latencies.mean_ns)))
        rows += [
            (name_percentile(share), format_time(latencies.percentile_ns(share)))
            for share in PERCENTILES
        ]
        rows.append(("max", format_time(latencies.greatest_ns)))
    cells = "".join(f"<tr><td>{name}</td><td>{value}</td></tr>" for name, value in rows)
    return f"<table>{cells}</table>"


def _write_seconds(value: float) -> str:
    return f"{value:g} s"


def _time_axis(ticks: list[Tick]) -> Axis:
    return linear([ticks[-1].at + ticks[-1].seconds], _write_seconds)


def _plot_rates(ticks: list[Tick], unit: str) -> str:
    points = [(tick.at + tick.seconds / 2, tick.count / tick.seconds) for tick in ticks]
    up = linear([rate for _, rate in points], lambda rate: f"{rate:,.0f}")
    return plot_lines(f"{unit} a second", [(unit, points)], _time_axis(ticks), up)


def _plot_latencies(ticks: list[Tick]) -> str:
    """Plot percentiles of the latencies of each tick that has any."""
    spoken = [tick for tick in ticks if tick.latencies.count]
    lines = [
        (
            name,
            [(tick.at + tick.seconds / 2, tick.latencies.percentile_ns(share)) for tick in spoken],
        )
        for name, share in _LINE_SHARES.items()
    ]
    up = logarithmic([value for _, points in lines for _, value in points], format_time)
    return plot_lines("Latency over time", lines, _time_axis(ticks), up)


def _plot_percentiles(latencies: Histogram) -> str:
    """Plot latencies over percentiles, of which each further nine is as wide as the one before."""
    points = []
    for step in range(_NINES * 20 + 1):
        behind = 10 ** (step / 20)  # one of so many is later
        if behind > latencies.count * 2:
            break
        points.append((behind, latencies.percentile_ns(1 - 1 / behind)))
    across = Axis(1, 10**_NINES, is_log=True, write=lambda one: f"{100 - 100 / one:.10g} %")
    up = logarithmic([value for _, value in points], format_time)
    return plot_lines("Latency by percentile", [("latency", points)], across, up)


def _plot_histogram(latencies: Histogram) -> str:
    bars = group(latencies, 60)
    across = logarithmic([bars[0][0], bars[-1][1]], format_time)
    up = linear([count for _, _, count in bars], lambda count: f"{count:,.0f}")
    return plot_bars("Latencies", bars, across, up)
