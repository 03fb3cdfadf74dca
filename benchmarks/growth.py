"""How does the cost of a message grow with the connections, and with its size?

The exponent is the slope of a line through the logarithms of both (least squares): 0 where the
cost stays as it is, 1 where it grows as fast as what it depends on. For the sizes it is that of the
large messages, from 100 KiB, as the small ones cost what a call of the kernel costs.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from typing import Any

import harness
from harness import Answer, Question

PEERS = "sockwave,picows-uvloop,picows,websockets,aiohttp,floor"
CONNECTION_COUNTS = (10, 100, 1_000, 10_000)
SIZES = (10, 100, 1 << 10, 10 << 10, 100 << 10, 1 << 20, 10 << 20)
SMALL_SIZE = 20
FEW_CONNECTIONS = 8
LARGE_SIZE = 100 << 10
"""From here on, the exponent of the sizes is taken."""


def name_size(size: int) -> str:
    """Write a size with the largest unit that it is a multiple of."""
    for unit, bytes_count in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size % bytes_count == 0:
            return f"{size // bytes_count} {unit}"
    return f"{size} B"


def describe(connection_count: int, size: int) -> Question:
    """Describe one echo."""
    title = f"{connection_count:,} connections x {name_size(size)}"
    return Question(title, (f"--connections={connection_count}", f"--size={size}"))


def find_exponent(points: Sequence[tuple[float, float]]) -> float:
    """Return the slope of the line through the points' logarithms, by least squares."""
    logs = [(math.log(x), math.log(y)) for x, y in points]
    middle_x = sum(x for x, _ in logs) / len(logs)
    middle_y = sum(y for _, y in logs) / len(logs)
    covariance = sum((x - middle_x) * (y - middle_y) for x, y in logs)
    return covariance / sum((x - middle_x) ** 2 for x, _ in logs)


def collect(
    answers: dict[int, Answer], names: Sequence[str], first: int
) -> dict[str, dict[str, Any]]:
    """Give each server's costs in µs, and their exponent from `first` on."""
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        costs = {
            value: answer.rows[name].median.cpu_us
            for value, answer in answers.items()
            if name in answer.rows and answer.rows[name].median is not None
        }
        line = [(value, cost) for value, cost in costs.items() if value >= first]
        exponent = find_exponent(line) if len(line) > 1 else None
        found[name] = {"cost_us": costs, "exponent": exponent}
    return found


def report(
    title: str, answers: dict[int, Answer], labels: Sequence[str], found: dict[str, dict[str, Any]]
) -> None:
    """Print the table of one kind of growth."""
    rows = []
    for name, record in found.items():
        costs, exponent = record["cost_us"], record["exponent"]
        cells = [f"{costs[value]:,.2f}" if value in costs else "-" for value in answers]
        rows.append([name, *cells, "-" if exponent is None else f"{exponent:.2f}"])
    sentences = []
    for label, answer in zip(labels, answers.values(), strict=True):
        sentences += [f"{label}: {sentence}" for sentence in answer.sentences]
    harness.print_table(title, ["CPU us/message", *labels, "exponent"], rows, sentences)


def main() -> int:
    """Ask both questions; returns 1 if a server failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    harness.add_arguments(parser, runs=3, peers=PEERS)
    parser.set_defaults(seconds=1.5)
    options = parser.parse_args()
    counts, sizes = CONNECTION_COUNTS, SIZES
    if options.quick:
        counts, sizes = counts[:3], sizes[::2]
    with harness.prepare(options) as bench:
        choice = harness.choose_peers(options.peers)
        machine = harness.describe_machine(bench)
        harness.print_preface(machine, choice)
        names = list(choice.peers)
        more = {
            count: harness.ask(bench, choice.peers, describe(count, SMALL_SIZE), options)
            for count in counts
        }
        larger = {
            size: harness.ask(bench, choice.peers, describe(FEW_CONNECTIONS, size), options)
            for size in sizes
        }
    by_count = collect(more, names, counts[0])
    by_size = collect(larger, names, LARGE_SIZE)
    report(
        f"Echo of {SMALL_SIZE} B, more and more connections",
        more,
        [f"{count:,}" for count in counts],
        by_count,
    )
    report(
        f"Echo on {FEW_CONNECTIONS} connections, larger and larger messages",
        larger,
        [name_size(size) for size in sizes],
        by_size,
    )
    answers = [*more.values(), *larger.values()]
    record = {
        "machine": machine,
        "versions": choice.versions,
        "skipped": choice.skipped,
        "by_connections": by_count,
        "by_size": by_size,
        "answers": [harness.to_json(answer) for answer in answers],
    }
    harness.write_results(options.output, "growth", record)
    return 1 if any(answer.failures for answer in answers) else 0


if __name__ == "__main__":
    sys.exit(main())
