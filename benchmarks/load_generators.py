"""How much of a server's rate does `sockwave bench` reach, beside a plain client in C?

Both load the same server, floor.c, in a closed loop and from the same core, in turn (A B A B). The
plain client compares no reply and measures no latency; `sockwave bench` does both. What the load's
processor time for a message is, is told too: it bounds the rate where the server does not.
"""

import argparse
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from harness.machine import choose_cores, compile_program

HERE = Path(__file__).parent
QUESTIONS = ((64, 20, 1), (64, 20, 32), (1, 64, 1))
"""Connections, bytes of a message, messages at once."""


class Run(NamedTuple):
    rate: float
    cpu_us: float


def run_pinned(core: int, *command: str) -> str:
    """Run a command on one core, and give what it prints."""
    done = subprocess.run(
        ["taskset", "--cpu-list", str(core), *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # the report
        text=True,
        check=True,
    )
    return done.stdout


def run_plain(client: Path, port: int, core: int, question: tuple[int, ...], seconds: float) -> Run:
    words = map(str, (port, *question, seconds))
    count, wall_s, cpu_s = map(float, run_pinned(core, str(client), *words).split())
    return Run(count / wall_s, cpu_s / count * 1e6)


def run_bench(port: int, core: int, question: tuple[int, ...], seconds: float) -> Run:
    connections, size, depth = question
    figures = json.loads(
        run_pinned(
            core,
            *(sys.executable, "-m", "sockwave", "bench", f"127.0.0.1:{port}", "--json=-"),
            *(f"--connections={connections}", f"--size={size}", f"--depth={depth}"),
            f"--duration={seconds}",
        )
    )
    return Run(figures["rate"], figures["load_cpu_s"] / figures["count"] * 1e6)


def wait_for(port: int) -> None:
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.02)


def main() -> int:
    """Ask the questions; returns 1 where a share is below the one that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="of each (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a run (default %(default)s)")
    parser.add_argument("--least", type=float, default=0.9, help="the share (default %(default)s)")
    options = parser.parse_args()
    server_core, client_core = choose_cores(None, None)
    shares = []
    with tempfile.TemporaryDirectory(prefix="sockwave-bench-") as name:
        floor = compile_program(HERE / "floor.c", Path(name))
        plain = compile_program(HERE / "plain_client.c", Path(name))
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        server = subprocess.Popen(
            ["taskset", "--cpu-list", str(server_core), str(floor), str(port)]
        )
        try:
            wait_for(port)
            for question in QUESTIONS:
                runs: tuple[list[Run], list[Run]] = ([], [])
                for _ in range(options.runs):
                    runs[0].append(run_plain(plain, port, client_core, question, options.seconds))
                    runs[1].append(run_bench(port, client_core, question, options.seconds))
                rates = [statistics.median(run.rate for run in one) for one in runs]
                costs = [statistics.median(run.cpu_us for run in one) for one in runs]
                # A neighbour is as loud for one as for the other of a pair.
                pairs = zip(*runs, strict=True)
                share = statistics.median(ours.rate / theirs.rate for theirs, ours in pairs)
                shares.append(share)
                print(
                    "{} connections, {} B, depth {}: ".format(*question)
                    + f"plain {rates[0]:,.0f}/s ({costs[0]:.2f} us each), "
                    f"bench {rates[1]:,.0f}/s ({costs[1]:.2f} us each), share {share:.1%}",
                    flush=True,
                )
        finally:
            server.terminate()
            server.wait()
    return int(min(shares) < options.least)


if __name__ == "__main__":
    sys.exit(main())
