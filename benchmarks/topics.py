"""What do topics cost, beside sending and broadcasting, and over several workers?

The first tables come from one process that is asked in both ways in turn (`topic_costs.py`); their
ratio is that of the medians, and the spread that of the ratios of all rounds. With workers, one
connection speaks, and what it says goes to all of them: the CPU time of all processes, for each
delivery. Two workers have twice the connections; where the machine has two cores, they share them
with the client.
"""

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import harness
from harness import Bench, BenchmarkError, Process, wait_until_it_accepts
from harness.processes import find_port, parse_event, start_client
from samples import find_descendants

HERE = Path(__file__).resolve().parent
SIZE = 128
DEPTH = 8
COMPARED = {
    "everybody": ("a topic of everybody", "broadcast", "delivery"),
    "everybody, bursts": ("the same in bursts of 8", "broadcast", "delivery"),
    "changes": ("subscribe and unsubscribe", "conn.send", "connection"),
    "history": ("publish with a history", "without", "publish to one"),
    "tokens": ("append a token, compact", "conn.send of its bytes", "token"),
}
WAYS = {
    "one process": ("--workers=0",),
    "one worker": ("--workers=1",),
    "two workers": ("--workers=2",),
}
START_S = 60.0


def ask(bench: Bench, options: argparse.Namespace, *more: str) -> dict[str, Any]:
    """Run the process that asks itself, and give what it tells."""
    command = [sys.executable, str(HERE / "topic_costs.py"), f"--client-core={bench.client_core}"]
    log = bench.directory / "topics.log"
    with Process([*command, *more], bench.server_core, log, piped=True) as process:
        output, _ = process.popen.communicate(timeout=1200)
        if process.popen.returncode:
            raise BenchmarkError(process.last_words())
    found: dict[str, Any] = json.loads(output)
    return found


def show_costs(told: dict[str, Any], count: int) -> None:
    """Print what was compared in one process."""
    rows = []
    for key, (one, other, unit) in COMPARED.items():
        found = told[key]
        medians = [statistics.median(found[way]) for way in ("one", "other")]
        ratios = [a / b for a, b in zip(found["one"], found["other"], strict=True)]
        spread = f"{min(ratios):.2f}-{max(ratios):.2f}"
        costs = [f"{median:.2f}" for median in medians]
        rows.append([one, other, unit, *costs, f"{medians[0] / medians[1]:.2f}", spread])
    halves = [statistics.median(told["halves"][way]) for way in ("one", "other")]
    harness.print_table(
        f"CPU us of topics, one process, {count:,} connections",
        ["", "beside", "for each", "us", "beside it", "ratio", "of rounds"],
        rows,
        [f"subscribe {halves[0]:.2f} us, unsubscribe {halves[1]:.2f} us, without any write"],
    )


def measure_workers(
    bench: Bench, way: str, count: int, options: argparse.Namespace, *more: str
) -> float:
    """Give the CPU us of a delivery, of all processes of a service."""
    port = find_port()
    program = str(HERE / "peers" / "sockwave_topics.py")
    command = [sys.executable, program, "--port", str(port), *WAYS[way], *more]
    with Process(command, bench.server_core, bench.directory / "workers.log") as service:
        wait_until_served(service, port)
        # Each worker may run where there is room: what is compared is CPU time.
        for pid in (service.pid, *find_descendants(service.pid)):
            os.sched_setaffinity(pid, os.sched_getaffinity(0))
        load = [f"--connections={count}", f"--size={SIZE}", f"--depth={DEPTH}", "--speaker"]
        load += [f"--seconds={options.seconds}", f"--warmup={options.warmup}"]
        load += [f"--server-pid={service.pid}", "--patience=60"]
        with start_client(bench, port, *load) as client:
            output, _ = client.popen.communicate(timeout=options.seconds + 120)
            last = output.splitlines()[-1] if output else ""
            result = parse_event(last, "result", client)
    cost: float = result["server_cpu_s"] / result["messages"] * 1e6
    return cost


def wait_until_served(service: Process, port: int) -> None:
    """Wait until all of a service's workers accept connections, and are linked."""
    wait_until_it_accepts(service, "the service", port, START_S)
    time.sleep(1.0)


def show_workers(found: dict[tuple[str, str], list[float]], count: int) -> None:
    """Print what a delivery costs over workers."""
    rows = []
    for (kind, way), costs in found.items():
        base = statistics.median(found[kind, "one process"])
        median = statistics.median(costs)
        own = count * (2 if way == "two workers" else 1)
        spread = harness.format_spread(costs, median, 2)
        rows.append([kind, way, f"{own:,}", spread, f"{median / base:.2f}"])
    harness.print_table(
        f"CPU us of a delivery, all processes, {SIZE} B, in bursts of {DEPTH}",
        ["topic", "service", "connections", "us/delivery", "ratio"],
        rows,
    )


def main() -> int:
    """Ask all questions; returns 1 if something failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    harness.add_arguments(parser, runs=5, peers="sockwave")
    parser.add_argument("--connections", type=int, default=1_000, help="(default %(default)s)")
    parser.add_argument("--held", type=int, default=16_000, help="those of the memory's table")
    parser.add_argument("--rounds", type=int, default=15, help="in one process")
    options = parser.parse_args()
    if options.quick:
        options.held, options.rounds = 2_000, 5
    count, record = options.connections, {}
    failures: list[str] = []
    with harness.prepare(options) as bench:
        choice = harness.choose_peers(options.peers)
        machine = harness.describe_machine(bench)
        harness.print_preface(machine, choice)
        try:
            harness.show_progress("in one process")
            sizes = f"--connections={count}", f"--rounds={options.rounds}"
            record["costs"] = ask(bench, options, *sizes)
            harness.show_progress("")
            show_costs(record["costs"], count)
            harness.show_progress("memory")
            held = ask(bench, options, f"--connections={options.held}", "--memory")
            record["memory"] = held["memory"]
            harness.show_progress("")
            harness.print_table(
                "Memory of subscriptions",
                ["connections", "topics of each", "bytes/subscription"],
                [[f"{options.held:,}", "62", f"{held['memory']:.1f}"]],
            )
            found: dict[tuple[str, str], list[float]] = {
                (kind, way): [] for kind in ("plain", "with history") for way in WAYS
            }
            for number in range(options.runs):
                for kind, way in found:
                    harness.show_progress(f"round {number + 1} of {options.runs}, {way}, {kind}")
                    own = count * (2 if way == "two workers" else 1)
                    more = ["--history"] if kind == "with history" else []
                    found[kind, way].append(measure_workers(bench, way, own, options, *more))
            harness.show_progress("")
            show_workers(found, count)
            record["workers"] = [[*key, costs] for key, costs in found.items()]
        except harness.FAILURES as error:
            failures.append(str(error))
            print(f"FAILED: {error}")
    record |= {"machine": machine, "versions": choice.versions, "failures": failures}
    harness.write_results(options.output, "topics", record)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
