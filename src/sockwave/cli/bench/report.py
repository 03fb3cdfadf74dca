"""The figures of a load, in the terminal."""

import math

from rich.console import Console
from rich.table import Table

from sockwave.cli.bench.hdr import Histogram
from sockwave.cli.bench.results import (
    PERCENTILES,
    Results,
    format_size,
    format_time,
    name_percentile,
)

_MOST_BAR_SIZE = 50
_LEAST_BAR_SIZE = 10
#: Of a row, beside its bar.
_TEXT_SIZE = 46
_ROW_COUNT = 14
_EIGHTHS = " ▏▎▍▌▋▊▉"


def print_report(results: Results, console: Console) -> None:
    """Print the figures, and the latencies as a histogram."""
    plan = results.plan
    console.print(describe_plan(results), style="bold", highlight=False)
    if results.is_interrupted:
        console.print("Interrupted: these are the figures so far.", style="yellow")
    thing = "handshakes" if plan.mode == "handshake" else "replies"
    if plan.mode != "idle":
        console.print(
            f"{results.count:,} {thing} in {results.seconds:.2f} s: {results.rate:,.0f} a second"
            + (f", {format_size(results.size / results.seconds)}/s" if results.size else ""),
            highlight=False,
        )
    if results.missing:
        total = results.count + results.missing
        console.print(f"{results.missing:,} of {total:,} replies are missing", style="red")
    if results.opening is not None:
        handshakes = results.handshakes
        console.print(
            f"{plan.connections:,} connections opened in {results.opening['seconds']:.2f} s: "
            f"p50 {write_time(handshakes.percentile_ns(0.5), console.encoding)}, "
            f"p99 {write_time(handshakes.percentile_ns(0.99), console.encoding)}",
            highlight=False,
        )
    if results.latencies.count:
        print_latencies(results.latencies, console)
    if results.is_busy:
        console.print(
            "The load generator used nearly all of a processor: a faster one may get more.",
            style="yellow",
        )


def describe_plan(results: Results) -> str:
    """Return in a line what was done."""
    plan = results.plan
    how = "closed loop" if plan.rate is None else f"open loop, {plan.rate:,} messages a second"
    if plan.mode in ("handshake", "idle"):
        return f"{plan.mode} {plan.uri}: {plan.connections:,} connections"
    kind = "compressed JSON" if plan.deflate else "binary" if plan.binary else "text"
    depth = f", {plan.depth} at once" if plan.depth > 1 else ""
    return (
        f"{plan.mode} {plan.uri}: {plan.connections:,} connections, "
        f"{plan.size:,} bytes of {kind}{depth}, {how}"
    )


def print_latencies(latencies: Histogram, console: Console) -> None:
    """Print the percentiles in a line, and a bar for each range of latencies."""
    encoding = console.encoding
    table = Table(box=None, padding=(0, 1, 0, 0))
    cells = [write_time(latencies.mean_ns, encoding)]
    table.add_column("mean", justify="right")
    for share in PERCENTILES:
        table.add_column(name_percentile(share), justify="right")
        cells.append(write_time(latencies.percentile_ns(share), encoding))
    table.add_column("max", justify="right")
    table.add_row(*cells, write_time(latencies.greatest_ns, encoding))
    console.print(table, highlight=False)
    rows = group(latencies)
    most = max(count for _, _, count in rows)
    size = min(max(console.width - _TEXT_SIZE, _LEAST_BAR_SIZE), _MOST_BAR_SIZE)
    for low, high, count in rows:
        bar = draw_bar(count / most, size, encoding)
        console.print(
            f"{write_time(low, encoding):>8} - {write_time(high, encoding):<8} {bar}"
            f"{count / latencies.count:9.3%} {count:>13,}",
            highlight=False,
            soft_wrap=True,
        )


def group(latencies: Histogram, rows: int = _ROW_COUNT) -> list[tuple[float, float, int]]:
    """Return so many ranges of equal ratio, each with its count."""
    low = max(latencies.least_ns, 1)
    high = max(latencies.greatest_ns, low + 1)
    step = (math.log(high) - math.log(low)) / rows
    counts = [0] * rows
    for slot in latencies.slots:
        place = int((math.log(max(slot.middle, low)) - math.log(low)) / step)
        counts[min(place, rows - 1)] += slot.count
    return [
        (low * math.exp(step * row), low * math.exp(step * (row + 1)), count)
        for row, count in enumerate(counts)
    ]


def write_time(ns: float, encoding: str) -> str:
    """Return a time with its unit, of which the letter µ is not in each encoding."""
    text = format_time(ns)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.replace("µ", "u")
    return text


def draw_bar(share: float, size: int, encoding: str) -> str:
    """Return a bar of at most `size` characters, of eighths where the terminal has them.

    Some is never shown as nothing.
    """
    if not encoding.lower().startswith("utf"):
        return ("#" * max(round(share * size), share > 0)).ljust(size)
    eighths = max(round(share * size * 8), share > 0)
    bar = "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
    return bar.ljust(size)
