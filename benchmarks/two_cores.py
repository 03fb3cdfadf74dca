"""What do two processes on one port give, and how evenly do the connections spread over them?

Each process listens with `reuse_port=True` and is pinned to a core of its own. On a machine with
three cores or more the client has another; on two it runs on both, beside the servers, and what it
takes is missing there: the listener that works shows what two processes give where the application
costs more than the messages. CPU time per message tells whether sharing a port costs anything.
"""

import argparse
import contextlib
import math
import os
import socket
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import harness
from harness import Bench, BenchmarkError, Process

WORK = 3_000
"""Numbers that the listener which works adds up for each message."""
CONNECTION_COUNT, SIZE = 256, 20
SPREAD_COUNTS = (64, 1_000, 10_000)
PATIENCE_S = 60.0
SERVER = Path(__file__).resolve().parent / "peers" / "sockwave_echo.py"


def choose_cores(bench: Bench) -> tuple[list[int], set[int]]:
    """Choose a core for each server, and those of the client."""
    usable = sorted(os.sched_getaffinity(0))
    servers = [bench.server_core, *(core for core in usable if core != bench.server_core)][:2]
    return servers, set(usable) - set(servers) or set(servers)


@contextlib.contextmanager
def serve(bench: Bench, cores: list[int], work: int) -> Iterator[tuple[list[Process], int]]:
    """Start a server on each of the cores, all on one port, and give both."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    command = [sys.executable, str(SERVER), "--port", str(port), "--reuse-port", f"--work={work}"]
    with contextlib.ExitStack() as stack:
        servers = []
        for core in cores:
            log = bench.directory / f"server-{core}.log"
            server = stack.enter_context(Process(command, core, log, piped=True))
            assert server.popen.stdout is not None
            if server.popen.stdout.readline() != "listening\n":
                raise BenchmarkError(f"a server ended at its start: {server.last_words()}")
            servers.append(server)
        yield servers, port


@contextlib.contextmanager
def load(bench: Bench, port: int, cores: set[int], *arguments: str) -> Iterator[Process]:
    """Start the client on its cores."""
    with harness.start_client(bench, port, *arguments) as client:
        os.sched_setaffinity(client.pid, cores)
        yield client


def read_cpu_s(servers: list[Process]) -> float:
    """Return the CPU time that the servers have used, user and system."""
    ticks = 0
    for server in servers:
        fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def count_sockets(server: Process) -> int:
    """Return how many sockets a process has open."""
    entries = os.scandir(f"/proc/{server.pid}/fd")
    return sum(os.readlink(entry.path).startswith("socket:") for entry in entries)


def measure(bench: Bench, count: int, work: int, seconds: float) -> dict[str, float]:
    """Load `count` servers on one port once."""
    cores, client_cores = choose_cores(bench)
    if count == 1 and len(client_cores & set(cores)) > 0:
        client_cores = {cores[1]}
    options = [f"--connections={CONNECTION_COUNT}", f"--size={SIZE}", f"--seconds={seconds}"]
    with (
        serve(bench, cores[:count], work) as (servers, port),
        load(bench, port, client_cores, *options, "--warmup=0") as client,
    ):
        assert client.popen.stdout is not None
        harness.parse_event(client.popen.stdout.readline(), "open", client)
        before = read_cpu_s(servers)
        result = harness.parse_event(client.popen.stdout.readline(), "result", client)
        cpu_s = read_cpu_s(servers) - before
    return {
        "throughput": result["messages"] / result["seconds"],
        "cpu_us": cpu_s / result["messages"] * 1e6,
        "server_share": cpu_s / result["seconds"],
        "client_share": result["client_cpu_s"] / result["seconds"],
    }


def measure_spread(bench: Bench, connection_count: int) -> float:
    """Open connections to two servers, and return the share of the one that has more of them."""
    cores, client_cores = choose_cores(bench)
    options = [f"--connections={connection_count}", f"--idle={PATIENCE_S}"]
    with serve(bench, cores, 0) as (servers, port):
        before = [count_sockets(server) for server in servers]
        with load(bench, port, client_cores, *options) as client:
            assert client.popen.stdin is not None
            assert client.popen.stdout is not None
            harness.parse_event(client.popen.stdout.readline(), "open", client)
            after = [count_sockets(server) for server in servers]
            with contextlib.suppress(BrokenPipeError):
                client.popen.stdin.close()
            client.popen.wait(PATIENCE_S)
    counts = [have - had for have, had in zip(after, before, strict=True)]
    if sum(counts) != connection_count:
        raise BenchmarkError(f"expected {connection_count} connections, found {counts}")
    return max(counts) / connection_count


def report_throughput(runs: dict[tuple[int, int], list[dict[str, float]]]) -> None:
    """Print what one process and two give."""
    rows = []
    medians = {
        key: {name: statistics.median(run[name] for run in own) for name in own[0]}
        for key, own in runs.items()
    }
    for (work, count), median in medians.items():
        growth = median["throughput"] / medians[work, 1]["throughput"]
        spread = [run["throughput"] for run in runs[work, count]]
        rows.append(
            [
                f"echo{' and work' if work else ''}, {count} process{'es' if count > 1 else ''}",
                harness.format_spread(spread, median["throughput"], 0),
                f"{growth:.2f}",
                f"{median['cpu_us']:.2f}",
                f"{median['server_share']:.0%}",
                f"{median['client_share']:.0%}",
            ]
        )
    harness.print_table(
        f"One process and two on one port, {CONNECTION_COUNT} connections, {SIZE} B",
        ["", "messages/s", "growth", "CPU us/message", "servers", "client"],
        rows,
        [
            "servers and client: of one core; together they have as many as the machine.",
            f"the work: the listener adds up {WORK:,} numbers before it answers.",
        ],
    )


def report_spread(shares: dict[int, list[float]]) -> None:
    """Print how evenly connections spread, beside what fair coins would do."""
    rows = []
    for count, own in shares.items():
        expected = 0.5 + 1 / math.sqrt(2 * math.pi * count)
        spread = harness.format_spread([100 * one for one in own], 100 * statistics.median(own), 1)
        rows.append([f"{count:,}", spread, f"{100 * expected:.1f}"])
    harness.print_table(
        "How evenly connections spread over two processes",
        ["connections", "% at the busier one", "% there by fair coins, on average"],
        rows,
    )


def main() -> int:
    """Ask both questions."""
    parser = argparse.ArgumentParser(description=__doc__)
    harness.add_arguments(parser, runs=5, peers="sockwave")
    options = parser.parse_args()
    runs: dict[tuple[int, int], list[dict[str, float]]] = {
        (work, count): [] for work in (0, WORK) for count in (1, 2)
    }
    shares: dict[int, list[float]] = {count: [] for count in SPREAD_COUNTS}
    with harness.prepare(options) as bench:
        choice = harness.choose_peers(options.peers)
        machine: dict[str, Any] = harness.describe_machine(bench)
        harness.print_preface(machine, choice)
        for number in range(1, options.runs + 1):
            for (work, count), own in runs.items():
                harness.show_progress(f"round {number} of {options.runs}, {count} of them")
                own.append(measure(bench, count, work, options.seconds))
            for connection_count, found in shares.items():
                harness.show_progress(f"round {number} of {options.runs}, spread")
                found.append(measure_spread(bench, connection_count))
        harness.show_progress("")
    report_throughput(runs)
    report_spread(shares)
    record = {
        "machine": machine,
        "versions": choice.versions,
        "skipped": choice.skipped,
        "throughput": [
            {"work": work, "processes": count, "runs": own} for (work, count), own in runs.items()
        ],
        "spread": shares,
    }
    harness.write_results(options.output, "two-cores", record)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BenchmarkError, subprocess.SubprocessError) as error:
        sys.exit(f"two_cores.py: {error}")
