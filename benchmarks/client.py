"""How many echoes a second does a client get over one connection, and what does each cost it?

One connection and one message at a time, to the floor: a server in C that costs the least. Rounds
are interleaved (A B C A B C), each with a fresh server and a fresh client, pinned to a core each;
the table shows medians. A listener sends the next message where the reply is heard; a task awaits
each reply; without asyncio, a thread waits for it.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import harness
from harness import Bench, BenchmarkError, Choice, Peer, Process
from harness.peers import find_versions

SIZE = 256
GRACE_S = 30.0
"""Seconds by which a client may outlast its time before it is given up."""

FLOOR = harness.PEERS["floor"]


def describe(name: str, arguments: str, *more: str) -> Peer:
    """Describe the client of that distribution, which needs more of them, and arguments."""
    return Peer(name, (name, *more), tuple(arguments.split()))


CLIENTS = {
    "sockwave": describe("sockwave", "--way listener"),
    "sockwave-task": describe("sockwave", "--way task"),
    "sockwave-sync": describe("sockwave", "--way sync"),
    "sockwave-uvloop": describe("sockwave", "--way listener --loop uvloop", "uvloop"),
    "sockwave-task-uvloop": describe("sockwave", "--way task --loop uvloop", "uvloop"),
    "picows": describe("picows", ""),
    "picows-uvloop": describe("picows", "--loop uvloop", "uvloop"),
    "websockets": describe("websockets", "--way task"),
    "websockets-sync": describe("websockets", "--way sync"),
    "websockets-uvloop": describe("websockets", "--way task --loop uvloop", "uvloop"),
}


@dataclass(frozen=True)
class Run:
    """One measured phase: echoes, and the client's CPU time for each."""

    rate: float
    cpu_us: float


def choose_clients(names: str) -> Choice:
    """Look up which of the clients named can run; ends the benchmark if none can."""
    choice = Choice()
    for name in names.split(","):
        if name not in CLIENTS:
            sys.exit(f"unknown client {name!r}; known are {', '.join(CLIENTS)}")
        found = find_versions(CLIENTS[name])
        missing = " ".join(key for key, version in found.items() if version is None)
        if missing:
            choice.skipped.append(f"SKIPPED {name}: no {missing}; run: make bench-peers")
        else:
            choice.peers[name] = CLIENTS[name]
            choice.versions[name] = {key: version for key, version in found.items() if version}
    if not choice.peers:
        sys.exit("\n".join([*choice.skipped, "no client is left"]))
    return choice


def measure(bench: Bench, client: Peer, options: argparse.Namespace) -> Run:
    """Start the server and a client, and take what that prints."""
    with harness.serve(bench, "floor", FLOOR) as (_, port):
        command = [client.interpreter(), *client.arguments_for("client"), "--port", str(port)]
        command += ["--size", str(options.size), "--seconds", str(options.seconds)]
        command += ["--warmup", str(options.warmup)]
        log = bench.directory / "client.log"
        with Process(command, bench.client_core, log, piped=True) as process:
            limit = options.warmup + options.seconds + GRACE_S
            output, _ = process.popen.communicate(timeout=limit)
            if process.popen.returncode:
                raise BenchmarkError(process.last_words())
        found = json.loads(output)
        count = found["count"]
        return Run(count / found["seconds"], found["cpu_s"] / count * 1e6)


def print_results(runs: dict[str, list[Run]], title: str, sentences: Sequence[str]) -> None:
    """Print the medians, and what each is to the first."""
    rates = {name: statistics.median(run.rate for run in own) for name, own in runs.items()}
    first = next(iter(runs), "none")
    rows = []
    for name, own in runs.items():
        cpus = [run.cpu_us for run in own]
        rows.append(
            [
                name,
                harness.format_spread([run.rate for run in own], rates[name], 0),
                f"{rates[name] / rates[first]:.2f}",
                f"{rates[first] / rates[name]:.2f}",
                harness.format_spread(cpus, statistics.median(cpus), 2),
                str(len(own)),
            ]
        )
    columns = ["client", "echoes/s", f"it / {first}", f"{first} / it", "CPU us/echo", "runs"]
    harness.print_table(title, columns, rows, sentences)


def main() -> int:
    """Ask the clients in turn; returns 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    # The peers are clients here.
    harness.add_arguments(parser, runs=5, peers=",".join(CLIENTS))
    parser.add_argument("--size", type=int, default=SIZE, help="of a message (default %(default)s)")
    options = parser.parse_args()
    with harness.prepare(options) as bench:
        machine = harness.describe_machine(bench)
        choice = choose_clients(options.peers)
        harness.print_preface(machine, choice)
        title = f"Echoes of a client: 1 connection x {options.size} B, depth 1"
        runs, failures = harness.repeat(
            title,
            options.runs,
            choice.peers,
            lambda _, client: measure(bench, client, options),
        )
        failed = [f"FAILED {name}: {complaint}" for name, complaint in failures.items()]
        print_results(runs, title, failed)
        record = {
            "machine": machine,
            "versions": choice.versions,
            "skipped": choice.skipped,
            "size": options.size,
            "runs": {name: [asdict(run) for run in own] for name, own in runs.items()},
        }
        harness.write_results(options.output, "client", record)
        return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
