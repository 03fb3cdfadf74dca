"""What does an echo over TLS cost the server, and what does an idle TLS connection hold?

As echo.py and memory.py, with one message in flight and a client of its own, tls_client.c, which
needs OpenSSL's headers (Debian: libssl-dev). The certificate is made with the openssl command.
"""

import argparse
import statistics
import sys
from typing import Any

import harness
import memory
from harness import Bench, Peer

WARMUP_COUNT = 64
"""Connections opened and closed first; few, as the memory that they leave is used again."""


def measure_echo(
    bench: Bench, name: str, peer: Peer, options: argparse.Namespace
) -> dict[str, float]:
    """Serve, load and measure once: CPU time per message in µs, and shares of one core."""
    with harness.serve(bench, name, peer) as (server, port):
        command = [
            f"--connections={options.connections}",
            f"--size={options.size}",
            f"--seconds={options.seconds}",
            f"--server-pid={server.pid}",
        ]
        with harness.start_client(bench, port, *command) as client:
            output, _ = client.popen.communicate(timeout=options.seconds + 60)
            last = output.splitlines()[-1] if output else ""
            result = harness.parse_event(last, "result", client)
    return {
        "cpu_us": result["server_cpu_s"] / result["messages"] * 1e6,
        "throughput": result["messages"] / result["seconds"],
        "server_share": result["server_cpu_s"] / result["seconds"],
        "client_share": result["client_cpu_s"] / result["seconds"],
    }


def measure_memory(bench: Bench, name: str, peer: Peer, count: int) -> float:
    """Give the resident bytes of an idle connection."""
    run = memory.measure(bench, name, peer, count, WARMUP_COUNT)
    return (run["after_bytes"] - run["before_bytes"]) / count


def report(names: list[str], echoes: dict[str, Any], held: dict[str, Any]) -> None:
    """Print one table: medians, with the least and the greatest."""
    first = statistics.median(run["cpu_us"] for run in echoes[names[0]])
    rows = []
    for name in names:
        runs = echoes[name]
        medians = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        rows.append(
            [
                name,
                harness.format_spread([run["cpu_us"] for run in runs], medians["cpu_us"], 2),
                f"{first / medians['cpu_us']:.3f}",
                f"{medians['throughput']:,.0f}",
                f"{medians['server_share']:.0%}",
                f"{medians['client_share']:.0%}",
                harness.format_spread(held[name], statistics.median(held[name]), 0),
            ]
        )
    columns = ["server", "CPU us/message", f"{names[0]} / it", "messages/s", "server", "client"]
    harness.print_table("Echo over TLS", [*columns, "bytes/idle connection"], rows)


def main() -> int:
    """Measure all, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    harness.add_arguments(
        parser, peers="sockwave,sockwave-portable,picows,picows-uvloop,websockets", runs=5
    )
    add = parser.add_argument
    add("--connections", type=int, default=64, help="of the echo (default %(default)s)")
    add("--size", type=int, default=1024, help="bytes of a message (default %(default)s)")
    add("--seconds", type=float, default=2.0, help="measured time of a run (default %(default)s)")
    add("--idle", type=int, default=2000, help="idle connections held (default %(default)s)")
    options = parser.parse_args()
    with harness.prepare(options) as plain:
        bench = harness.encrypt(plain)
        choice = harness.choose_peers(bench, options.peers)
        machine = harness.describe_machine(bench)
        harness.print_preface(machine, choice)
        echoes: dict[str, Any] = {name: [] for name in choice.peers}
        held: dict[str, Any] = {name: [] for name in choice.peers}
        for number in range(1, options.runs + 1):
            for name, peer in choice.peers.items():
                harness.show_progress(f"round {number} of {options.runs}, {name}")
                echoes[name].append(measure_echo(bench, name, peer, options))
                held[name].append(measure_memory(bench, name, peer, options.idle))
        harness.show_progress("")
    report(list(choice.peers), echoes, held)
    record = {"machine": machine, "versions": choice.versions, "echo": echoes, "memory": held}
    harness.write_results(options.output, "tls", record)
    return 0


if __name__ == "__main__":
    sys.exit(main())
