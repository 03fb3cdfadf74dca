"""Writes the results of the benchmarks into docs/performance.md, tables and plots.

A block of the page begins with ``<!-- results: NAME -->`` and ends with ``<!-- end -->``; what
stands between is replaced by the tables of the newest file in results/ that the benchmark NAME has
written, or of one that is named. What has not been measured stays as it is.
"""

import argparse
import json
import re
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import plot

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent / "docs"
PAGE = DOCS / "performance.md"
BLOCK = re.compile(r"(<!-- results: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
LABELS = {
    "picows-uvloop": "picows, uvloop",
    "aiohttp-uvloop": "aiohttp, uvloop",
    "floor": "floor (C)",
}
"""How servers are called in plots, where that is not their name."""
PLOTTED = ("sockwave", "floor", "picows", "picows-uvloop", "ws", "aiohttp", "websockets")
"""The servers in plots; those that a benchmark has not measured are left out."""
BUSY_SHARE = 0.05
"""Above this share of waiting for their core, servers had not the machine for themselves."""
LEFT_OUT = {"server", "client", "waited", "runs", "reply B"}
"""Columns that tell whether a figure can be believed: they are in the JSON."""
KEPT = {"echo-deflate": {"reply B"}, "two-cores": {"client"}}
"""Of these, what a benchmark is about."""

Record = dict[str, Any]


def read_results(directory: Path, chosen: list[Path]) -> dict[str, Record]:
    """Return the record of each benchmark: the newest in the directory, or the one chosen."""
    paths = sorted(directory.glob("*.json"), key=lambda path: path.stat().st_mtime)
    records: dict[str, Record] = {}
    for path in [*paths, *chosen]:
        record = json.loads(path.read_text())
        if "tables" in record:
            records[record["benchmark"]] = record
    return records


def fill_page(page: str, records: dict[str, Record]) -> str:
    """Return the page with its blocks filled from the records."""

    def fill(match: re.Match[str]) -> str:
        begin, name, end = match.groups()
        record = records.get(name)
        return match[0] if record is None else begin + format_block(record) + end

    return BLOCK.sub(fill, page)


def format_block(record: Record) -> str:
    """Format a command, on what it ran, and its tables."""
    versions = {item for found in record["versions"].values() for item in found.items()}
    machine = record["machine"]
    left_out = LEFT_OUT - KEPT.get(record["benchmark"], set())
    lines = ["```", f"$ {record['command']}", "```", ""]
    lines += [
        f"{machine['processor']}, {machine['cores']} cores, Linux {machine['kernel']}"
        f"{describe_company(record)}; "
        + ", ".join(f"{name} {version}" for name, version in sorted(versions))
        + ".",
        "",
    ]
    for table in record["tables"]:
        cells = format_table(table["columns"], table["rows"], left_out)
        lines += [f"**{table['title']}**", "", *cells, ""]
        lines += [*(f"- {sentence}" for sentence in table["sentences"]), ""]
    lines += [f"- {sentence}" for sentence in record.get("skipped", ())]
    return "\n".join(lines).rstrip() + "\n\n"


def describe_company(record: Record) -> str:
    """Say how much of the servers' time somebody else had their core."""
    shares = [
        run["waited_share"]
        for answer in record.get("answers", ())
        for server in answer.get("servers", {}).values()
        for run in server.get("runs", ())
        if "waited_share" in run
    ]
    if not shares:
        return ""
    share = statistics.median(shares)
    busy = ": shared with others, compare the ratios" * (share > BUSY_SHARE)
    return f", servers waited for their core {share:.1%} of the time{busy}"


def format_table(columns: list[str], rows: list[list[str]], left_out: set[str]) -> list[str]:
    """Format a table in Markdown, its first column to the left, without those left out."""
    kept = [0, *(i for i in range(1, len(columns)) if columns[i] not in left_out)]
    rulers = ["---", *["---:"] * (len(columns) - 1)]
    return [f"| {' | '.join(cells[i] for i in kept)} |" for cells in (columns, rulers, *rows)]


def collect_costs(record: Record, title: str) -> list[tuple[str, float]]:
    """Return the CPU time of each plotted server in the answer whose title begins so."""
    for answer in record["answers"]:
        if answer["question"].startswith(title):
            servers = answer["servers"]
            return [
                (LABELS.get(name, name), servers[name]["cpu_us"])
                for name in PLOTTED
                if "cpu_us" in servers.get(name, {})
            ]
    return []


def collect_memory(record: Record) -> list[tuple[str, float]]:
    """Return the resident memory that an idle connection takes of each plotted server."""
    return [
        (
            LABELS.get(name, name),
            statistics.median(
                (run["after_bytes"] - run["before_bytes"]) / record["connections"]
                for run in record["runs"][name]
            ),
        )
        for name in PLOTTED
        if name in record["runs"]
    ]


PANELS = (
    ("echo", "64 connections x 20 B, depth 1", "Echo, 20 B", "µs a message"),
    ("echo", "64 connections x 20 B, depth 32", "Echo, 20 B, 32 in flight", "µs a message"),
    ("broadcast", "Broadcast to 1,000, 128 B, one", "Broadcast to 1,000", "µs a delivery"),
    (
        "broadcast",
        "Broadcast to 1,000, 128 B, in",
        "Broadcast to 1,000, bursts of 8",
        "µs a delivery",
    ),
    ("handshakes", "Handshakes, 64", "Opening handshake", "µs a handshake"),
    ("fan-in", "Fan-in: 15,000", "15,000 that each say little", "µs a message"),
)
"""Of the plot of costs: benchmark, beginning of the question, title, unit."""


def draw_costs(records: dict[str, Record]) -> str | None:
    """Draw what the same work costs each server; None where nothing has been measured."""
    panels = []
    for benchmark, question, title, unit in PANELS:
        values = collect_costs(records[benchmark], question) if benchmark in records else []
        if values:
            panels.append(plot.Bars(title, f"CPU time of the server, {unit}", values))
    if "memory" in records and (values := collect_memory(records["memory"])):
        panels.append(
            plot.Bars("An idle connection", "Resident memory of the server, bytes", values)
        )
    if not panels:
        return None
    sentence = "Less is better. One core, a Python listener in the path; the floor is C and epoll."
    return plot.draw_bars("What the same work costs the server", sentence, panels)


def draw_growth(records: dict[str, Record]) -> str | None:
    """Draw how the cost of a message grows; None where it has not been measured."""
    if "growth" not in records:
        return None
    record = records["growth"]
    counts, sizes = (
        {
            LABELS.get(name, name): [
                (float(value), cost) for value, cost in record[key][name]["cost_us"].items()
            ]
            for name in PLOTTED
            if record[key].get(name, {}).get("cost_us")
        }
        for key in ("by_connections", "by_size")
    )
    panels = [
        plot.Lines(
            "More and more connections",
            "CPU time of the server a message of 20 B",
            [(10.0, "10"), (100.0, "100"), (1e3, "1,000"), (1e4, "10,000")],
            counts,
        ),
        plot.Lines(
            "Larger and larger messages",
            "CPU time of the server a message, on 8 connections",
            [(10.0, "10 B"), (1024.0, "1 KiB"), (102400.0, "100 KiB"), (10 * 2.0**20, "10 MiB")],
            sizes,
        ),
    ]
    return plot.draw_lines(
        "How the cost of a message grows", "Both scales are logarithmic.", panels
    )


PLOTS: dict[str, Callable[[dict[str, Record]], str | None]] = {
    "performance-cost.svg": draw_costs,
    "performance-growth.svg": draw_growth,
}


def main() -> int:
    """Rewrite the page and its plots."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("files", nargs="*", type=Path, help="results to take in place of the newest")
    add("--results", type=Path, default=HERE / "results", help="(default %(default)s)")
    options = parser.parse_args()
    records = read_results(options.results, options.files)
    if not records:
        sys.exit(f"no results in {options.results}: run a benchmark first")
    PAGE.write_text(fill_page(PAGE.read_text(), records))
    print(f"{PAGE}: {', '.join(sorted(records))}")
    for name, draw in PLOTS.items():
        drawing = draw(records)
        if drawing is not None:
            (DOCS / name).write_text(drawing)
            print(DOCS / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
