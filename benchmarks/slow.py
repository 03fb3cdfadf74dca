"""What do clients that never read cost the others, when everybody is sent a broadcast?

Each round is a run without slow clients and one with them, in turn, each with a fresh server. A
client process reads all that comes for the others, and counts it; the slow ones connect and read
nothing. The next broadcast is made when the others have taken the last one.
"""

import argparse
import asyncio
import contextlib
import json
import re
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import harness
from harness import BenchmarkError, open_websocket

import sockwave

READ_SIZE = 1 << 20
PATIENCE_S = 600.0
"""Seconds that a whole run may take, before it counts as failed."""
ALLOWED_RATIO = 1.2


# ---- the client process --------------------------------------------------------------------------


def run_client(options: argparse.Namespace) -> int:
    """Open the connections, read all of the quick ones to their end, and print how much came."""
    stuck = [open_websocket(options.port, "/slow") for _ in range(options.slow_count)]
    quick = {}
    epoll = select.epoll()
    for _ in range(options.receivers - options.slow_count):
        made = open_websocket(options.port, "/quick")
        made.setblocking(False)
        epoll.register(made, select.EPOLLIN)
        quick[made.fileno()] = made
    print("open", flush=True)
    place = memoryview(bytearray(READ_SIZE))
    sizes = dict.fromkeys(quick, 0)
    ended = 0
    while ended < len(quick):
        for fd, _ in epoll.poll():
            count = 0
            with contextlib.suppress(ConnectionError):
                count = quick[fd].recv_into(place)
            sizes[fd] += count
            if not count:
                epoll.unregister(fd)
                ended += 1
    print(json.dumps({"sizes": sorted(set(sizes.values())), "slow": len(stuck)}), flush=True)
    return 0


# ---- the server process --------------------------------------------------------------------------


def read_resident_size() -> int:
    """Give this process's resident memory in bytes."""
    match = re.search(r"^VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert match is not None
    return int(match[1]) << 10


async def run_server(options: argparse.Namespace) -> dict[str, Any]:
    """Serve one run: broadcast, and measure."""
    server = sockwave.create_server(
        slow=options.policy, max_backlog=options.cap, engine=options.engine, close_timeout=None
    )
    server.listen(0, "127.0.0.1")
    quick: list[sockwave.Connection] = []
    slow: list[sockwave.Connection] = []

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        (slow if conn.request.path == "/slow" else quick).append(conn)

    async with server:
        print(server.addresses[0][1], flush=True)
        while len(quick) + len(slow) < options.receivers:  # noqa: ASYNC110 - once, at the start
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
        message = bytes(options.size)
        times: list[float] = []
        backlogs: list[int] = []
        resident = peak = read_resident_size()
        begin = time.perf_counter()
        for _ in range(options.messages):
            start = time.perf_counter()
            server.broadcast(message)
            times.append(time.perf_counter() - start)
            peak = max(peak, read_resident_size())
            backlogs.append(sum(conn.backlog_size for conn in slow))
            while any(conn.backlog_size for conn in quick):  # noqa: ASYNC110 - no event says so
                await asyncio.sleep(0)
        whole_s = time.perf_counter() - begin
        record = {
            "call_ms": statistics.median(times) * 1e3,
            "whole_s": whole_s,
            "grown_size": peak - resident,
            "backlog_size": max(backlogs),
            "dropped_count": server.dropped_count,
            "slow_left": sum(conn.close_code is None for conn in slow),
        }
        for conn in quick:
            conn.close()
        for conn in slow:
            conn.abort()
        server.close(drain=0.5)
    return record


# ---- the rounds ----------------------------------------------------------------------------------


@contextlib.contextmanager
def start(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run this program in one of its other roles."""
    command = [sys.executable, __file__, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def measure(options: argparse.Namespace, slow_count: int) -> dict[str, Any]:
    """Make one run, and check that the others got everything."""
    common = [
        f"--{name}={getattr(options, name)}"
        for name in ("receivers", "messages", "size", "cap", "policy", "engine")
    ]
    with start("--role=server", *common) as server:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        arguments = ["--role=client", f"--port={port}", f"--slow-count={slow_count}", *common]
        with start(*arguments) as client:
            record: dict[str, Any] = json.loads(server.communicate(timeout=PATIENCE_S)[0])
            said = client.communicate(timeout=PATIENCE_S)[0].splitlines()
    if len(said) != 2:
        raise BenchmarkError("the client did not come to its end")
    head_size = 2 if options.size < 126 else 4 if options.size < 1 << 16 else 10
    expected = options.messages * (options.size + head_size)
    # The close frame comes behind them.
    if any(not expected <= size <= expected + 4 for size in json.loads(said[1])["sizes"]):
        raise BenchmarkError(f"the others did not get everything: {said[1]}, not {expected}")
    return record


def report(options: argparse.Namespace, runs: dict[int, list[dict[str, Any]]]) -> bool:
    """Print the table, and tell whether what is asked for holds."""
    slow_count = max(runs)

    def median(count: int, name: str) -> float:
        return float(statistics.median(run[name] for run in runs[count]))

    rows = [
        [
            f"{count}",
            harness.format_spread([run["call_ms"] for run in own], median(count, "call_ms"), 2),
            f"{median(count, 'whole_s'):.1f}",
            f"{median(count, 'grown_size') / 2**20:.1f}",
            f"{median(count, 'backlog_size') / 2**20:.2f}",
            f"{median(count, 'slow_left'):.0f}",
            f"{median(count, 'dropped_count'):.0f}",
        ]
        for count, own in runs.items()
    ]
    ratio = median(slow_count, "call_ms") / median(0, "call_ms")
    more = median(slow_count, "grown_size") - median(0, "grown_size")
    allowed = options.cap * slow_count
    harness.print_table(
        f"{options.messages:,} broadcasts of {options.size:,} B to {options.receivers:,} clients, "
        f"slow={options.policy!r}, max_backlog={options.cap:,}",
        [
            "never read",
            "call, ms",
            "all, s",
            "RSS grew, MiB",
            "their backlog, MiB",
            "of them left",
            "dropped",
        ],
        rows,
        [
            f"the others got everything; a call takes {ratio:.2f} x the one without slow clients "
            f"(allowed: {ALLOWED_RATIO})",
            f"slow clients cost {more / 2**20:.1f} MiB (allowed: {allowed / 2**20:.1f}, the cap "
            "times their number)",
        ],
    )
    return ratio <= ALLOWED_RATIO and more <= allowed


def main() -> int:
    """Measure and print; returns 1 where the others pay for the slow ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--receivers", type=int, default=1_000, help="(default %(default)s)")
    parser.add_argument("--messages", type=int, default=1_000, help="(default %(default)s)")
    parser.add_argument("--size", type=int, default=65_536, help="bytes (default %(default)s)")
    parser.add_argument("--percent", type=float, default=1.0, help="of them never read")
    parser.add_argument("--cap", type=int, default=1 << 20, help="max_backlog, in bytes")
    parser.add_argument("--policy", default="close", help="slow= of the server")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--rounds", type=int, default=3, help="(default %(default)s)")
    parser.add_argument("--output", type=Path, help="a JSON file")
    parser.add_argument("--role", default="parent", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--slow-count", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role == "client":
        return run_client(options)
    if options.role == "server":
        print(json.dumps(asyncio.run(run_server(options))), flush=True)
        return 0
    slow_count = max(round(options.receivers * options.percent / 100), 1)
    runs: dict[int, list[dict[str, Any]]] = {0: [], slow_count: []}
    for number in range(options.rounds):
        order = [0, slow_count] if number % 2 else [slow_count, 0]
        for count in order:
            harness.show_progress(f"round {number + 1} of {options.rounds}, {count} slow clients")
            runs[count].append(measure(options, count))
    harness.show_progress("")
    holds = report(options, runs)
    record = {key: value for key, value in vars(options).items() if key != "output"}
    harness.write_results(options.output, "slow", {"options": record, "runs": runs})
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
