"""What does an echo over TLS cost the server, and what does an idle TLS connection hold?

As echo.py and memory.py, with one message in flight and a client of its own, tls_client.c, which
needs OpenSSL's headers (Debian: libssl-dev). The certificate is made with the openssl command.
"""

import argparse
import contextlib
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import harness
from harness import Bench, BenchmarkError, Process
from memory import SETTLE_S, read_rss

WARMUP_COUNT = 64
"""Connections opened and closed first; few, as the memory that they leave is used again."""
PEERS = {
    name: harness.PEERS[name]
    for name in ("sockwave", "sockwave-asyncio-engine", "picows", "picows-uvloop", "websockets")
} | {
    "sockwave-run": harness.PEERS["sockwave-run"],
    "sockwave-portable": harness.PEERS["sockwave"],
}
"""The portable one calls OpenSSL by way of the ssl module."""


@dataclass(frozen=True)
class TlsBench:
    """A bench with the client for TLS, and what every server is told."""

    bench: Bench
    options: tuple[str, ...]


def make_certificate(directory: Path) -> tuple[str, ...]:
    """Make a certificate that signs itself; gives the options that name it."""
    cert, key = str(directory / "cert.pem"), str(directory / "key.pem")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", key, "-out", cert]
    subprocess.run(command, check=True, capture_output=True)
    return "--tls-cert", cert, "--tls-key", key


@contextlib.contextmanager
def serve(tls: TlsBench, name: str) -> Any:
    """Start a peer that speaks TLS, and give its process and port."""
    peer = PEERS[name]
    command = (*peer.command, *tls.options)
    if name == "sockwave-portable":
        command = (*command, "--portable-tls")
    with harness.serve(tls.bench, name, replace(peer, command=command)) as started:
        yield started


def measure_echo(tls: TlsBench, name: str, options: argparse.Namespace) -> dict[str, float]:
    """Serve, load and measure once: CPU time per message in µs, and shares of one core."""
    with serve(tls, name) as (server, port):
        command = [
            f"--connections={options.connections}",
            f"--size={options.size}",
            f"--seconds={options.seconds}",
            f"--server-pid={server.pid}",
        ]
        with harness.start_client(tls.bench, port, *command) as client:
            output, _ = client.popen.communicate(timeout=options.seconds + 60)
            last = output.splitlines()[-1] if output else ""
            result = harness.parse_event(last, "result", client)
    return {
        "cpu_us": result["server_cpu_s"] / result["messages"] * 1e6,
        "throughput": result["messages"] / result["seconds"],
        "server_share": result["server_cpu_s"] / result["seconds"],
        "client_share": result["client_cpu_s"] / result["seconds"],
    }


def measure_memory(tls: TlsBench, name: str, count: int) -> float:
    """Give the resident bytes of an idle connection."""
    with serve(tls, name) as (server, port):
        hold(tls.bench, server, port, WARMUP_COUNT)
        time.sleep(SETTLE_S)
        before = read_rss(server.pid)
        return (hold(tls.bench, server, port, count) - before) / count


def hold(bench: Bench, server: Process, port: int, count: int) -> int:
    """Open connections and close them; gives the memory of the server between."""
    with harness.start_client(bench, port, f"--connections={count}", "--idle") as client:
        assert client.popen.stdin is not None
        assert client.popen.stdout is not None
        harness.parse_event(client.popen.stdout.readline(), "open", client)
        time.sleep(SETTLE_S)
        resident = read_rss(server.pid)
        client.popen.stdin.close()
        if client.popen.wait(60) != 0:
            raise BenchmarkError(client.last_words())
    return resident


def report(names: list[str], echoes: dict[str, Any], memory: dict[str, Any]) -> None:
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
                harness.format_spread(memory[name], statistics.median(memory[name]), 0),
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
    names = options.peers.split(",")
    with harness.prepare(options) as bench:
        client = harness.compile_program(
            harness.HERE / "tls_client.c", bench.directory, "-lssl", "-lcrypto"
        )
        tls = TlsBench(replace(bench, client=client), make_certificate(bench.directory))
        choice = harness.choose_peers(bench, ",".join(n for n in names if n != "sockwave-portable"))
        machine = harness.describe_machine(bench)
        harness.print_preface(machine, choice)
        echoes: dict[str, Any] = {name: [] for name in names}
        memory: dict[str, Any] = {name: [] for name in names}
        for number in range(1, options.runs + 1):
            for name in names:
                harness.show_progress(f"round {number} of {options.runs}, {name}")
                echoes[name].append(measure_echo(tls, name, options))
                memory[name].append(measure_memory(tls, name, options.idle))
        harness.show_progress("")
    report(names, echoes, memory)
    record = {"machine": machine, "versions": choice.versions, "echo": echoes, "memory": memory}
    harness.write_results(options.output, "tls", record)
    return 0


if __name__ == "__main__":
    sys.exit(main())
