"""How many instructions does a message cost the server, and how many bytes an idle connection?

valgrind's callgrind counts what the server executes outside of the kernel. A question is asked with
a smaller and with a larger number, and the difference divided by the difference: what happens once
is not in it. The client waits until the server is idle before it sends anything, so that the same
wake-ups come in every run, and no time passes for the server (`counted.py`): the figures of two
runs differ by less than 0.1 %. `--against` names the interpreter of another environment, whose
sockwave is counted beside this one.

The memory of an idle connection is measured as `memory.py` does it.

`--gate` counts what has been recorded in `instructions.json`, and fails where it has become more;
`--record` writes that file anew.
"""

import argparse
import dataclasses
import shutil
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gate
import harness
import memory
from counted_questions import QUESTIONS
from counting import Counted
from harness import Bench, UnableError

HERE = Path(__file__).resolve().parent

ENGINES = {
    "epoll": ("--engine", "epoll"),
    "epoll, watched": ("--engine", "epoll", "--watched"),
    "asyncio": ("--engine", "asyncio"),
}
MEMORY_KINDS = ("plain", "TLS", "deflate")
MEMORY_PEERS = {"epoll": "sockwave", "asyncio": "sockwave-asyncio-engine"}


# ---- instructions


def count_all(
    bench: Bench, python: str, engine: str, titles: Sequence[str], options: argparse.Namespace
) -> dict[str, list[float]]:
    """Ask questions of one build, on one engine. Says which of them it cannot be asked."""
    counter = harness.compile_program(HERE / "counter.c", bench.directory, "-shared", "-fPIC")
    common = [*ENGINES[engine], "--counter", str(counter), "--zlib", options.zlib]
    asked = [question for question in QUESTIONS if question.title in titles]
    costs = {}
    for serve in dict.fromkeys(question.serve for question in asked):
        own = [question for question in asked if question.serve == serve]
        try:
            with Counted(python, harness.find_port(), bench.directory, [*common, *serve]) as server:
                for question in own:
                    harness.show_progress(f"{engine}, {python}: {question.title}")
                    costs[question.title] = question.ask(server, options.rounds)
        except UnableError as error:
            harness.show_progress("")
            for question in own:
                print(f"SKIPPED {question.title}, {engine}, {python}: {error}")
    harness.show_progress("")
    return costs


# ---- bytes of idle connections


def measure_memory(
    plain: Bench, python: str, name: str, kind: str, options: argparse.Namespace
) -> list[float]:
    """Give the bytes of an idle connection, of each run."""
    bench, count = plain, options.connections
    if kind == "TLS":
        bench = harness.encrypt(plain)
        count = min(count, options.connections // 5)
    elif kind == "deflate":
        bench = harness.compress(plain, "no-context")
    peer = dataclasses.replace(harness.PEERS[name], python=python)
    costs = []
    for number in range(options.runs):
        harness.show_progress(f"{count:,} idle, {kind}, {name}, run {number + 1}: {python}")
        found = memory.measure(bench, name, peer, count)
        costs.append((found["after_bytes"] - found["before_bytes"]) / count)
    harness.show_progress("")
    return costs


# ---- tables


@dataclass
class Table:
    """What was asked → the figures of each build; the old one is the first of two."""

    title: str
    columns: tuple[str, ...]
    digits: int
    rows: dict[tuple[str, ...], list[list[float]]] = field(default_factory=dict)

    def show(self) -> None:
        """Print the medians: old, new, ratio; or what there is. The spread is over the rounds."""
        is_compared = any(len(figures) > 1 for figures in self.rows.values())
        results = ("old", "new", "new / old") if is_compared else ("figure",)
        rows = []
        for key, figures in self.rows.items():
            medians = [statistics.median(own) for own in figures]
            cells = [f"{median:,.{self.digits}f}" for median in medians]
            if is_compared:
                cells.append(f"{medians[1] / medians[0]:.4f}")
            spread = max(
                (max(own) - min(own)) / median for own, median in zip(figures, medians, strict=True)
            )
            rows.append([*key, *cells, f"{spread:.2%}"])
        harness.print_table(self.title, [*self.columns, *results, "spread"], rows)

    def to_json(self) -> list[dict[str, Any]]:
        """Give all figures."""
        return [{"question": key, "figures": figures} for key, figures in self.rows.items()]


def fill_instructions(
    bench: Bench, builds: Sequence[str], engines: Sequence[str], options: argparse.Namespace
) -> Table:
    columns = ("engine", "question", "for each")
    table = Table("Instructions outside of the kernel", columns, 1)
    for engine in engines:
        titles = [question.title for question in QUESTIONS if options.only in question.title]
        found = [count_all(bench, python, engine, titles, options) for python in builds]
        for question in QUESTIONS:
            if all(question.title in costs for costs in found):
                key = (engine, question.title, question.unit)
                table.rows[key] = [costs[question.title] for costs in found]
    return table


def fill_memory(
    bench: Bench, builds: Sequence[str], engines: Sequence[str], options: argparse.Namespace
) -> Table:
    title = f"Bytes of an idle connection, {options.connections:,} of them, a fifth with TLS"
    table = Table(title, ("engine", "kind"), 0)
    for engine, name in MEMORY_PEERS.items():
        for kind in MEMORY_KINDS if engine in engines else ():
            table.rows[engine, kind] = [
                measure_memory(bench, python, name, kind, options) for python in builds
            ]
    return table


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--against", metavar="PYTHON", help="of an environment with another sockwave: the old one")
    add("--engines", default=";".join(ENGINES), help="those to ask (default %(default)s)")
    add("--only", default="", help="the questions whose title has this in it")
    add("--rounds", type=int, default=3, help="of instructions (default %(default)s)")
    add("--zlib", choices=["default", "zlib"], default="default", help="what compresses")
    add("--no-memory", action="store_true", help="count instructions only")
    add("--no-instructions", action="store_true", help="measure memory only")
    add("--connections", type=int, default=10_000, help="idle ones (default %(default)s)")
    add("--gate", action="store_true", help="compare with what was recorded, fail where it is more")
    add("--record", action="store_true", help="record what the gate is to compare with")
    add("--quick", action="store_true", help="one round on the epoll engine, fewer idle ones")
    harness.add_arguments(parser, runs=1, timed=False)
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.engines, options.connections = 1, "epoll", 2_000
    unknown = set(options.engines.split(";")) - set(ENGINES)
    if unknown:
        parser.error(f"--engines: expected some of {'; '.join(ENGINES)}, given {unknown}")
    return options


def count_for_gate(
    bench: Bench, asked: Mapping[str, Sequence[str]], options: argparse.Namespace
) -> gate.Figures:
    """Count the questions of each engine."""
    found: gate.Figures = {}
    for engine, titles in asked.items():
        costs = count_all(bench, sys.executable, engine, titles, options)
        found[engine] = {title: statistics.median(cost) for title, cost in costs.items()}
    return found


def keep_gate(options: argparse.Namespace) -> int:
    """Count what the gate is about, and compare or record; returns 1 where something failed."""
    if not options.record and (reason := gate.find_obstacle()):
        print(f"SKIPPED instructions: {reason}")
        return 0
    options.rounds = 1
    with harness.prepare(options) as bench:
        try:
            found = count_for_gate(bench, gate.COUNTED, options)
            if not options.record:
                # Where the machine is busy, the server wakes up more often: those are asked again.
                again = count_for_gate(bench, gate.find_excess(found), options)
                for engine, costs in again.items():
                    for title, cost in costs.items():
                        found[engine][title] = min(cost, found[engine][title])
        except harness.FAILURES as error:
            print(f"FAILED: {error}")
            return 1
    if options.record:
        gate.record(found)
        return 0
    return gate.compare(found)


def main() -> int:
    """Count, measure, print the tables; returns 1 if something failed, 0 without valgrind."""
    options = read_arguments()
    header = Path("/usr/include/valgrind/callgrind.h")
    if not options.no_instructions and (shutil.which("valgrind") is None or not header.exists()):
        print("SKIPPED instructions: no valgrind with its headers; run: apt-get install valgrind")
        options.no_instructions = True
    if options.gate or options.record:
        return 0 if options.no_instructions else keep_gate(options)
    builds = [*([options.against] if options.against else []), sys.executable]
    engines = options.engines.split(";")
    tables: dict[str, Table] = {}
    failures: list[str] = []
    with harness.prepare(options) as bench:
        machine = harness.describe_machine(bench)
        print(f"{machine['processor']}, Linux {machine['kernel']}\n", flush=True)
        try:
            if not options.no_instructions:
                tables["instructions"] = fill_instructions(bench, builds, engines, options)
                tables["instructions"].show()
            if not options.no_memory:
                tables["memory"] = fill_memory(bench, builds, engines, options)
                tables["memory"].show()
        except harness.FAILURES as error:
            failures.append(str(error))
            print(f"FAILED: {error}")
    record = {"machine": machine, "failures": failures}
    record |= {name: table.to_json() for name, table in tables.items()}
    harness.write_results(options.output, "instructions", record)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
