"""How late are the tokens of thousands of streams?

As a service of language models has them: each client hears a stream of its own, to which tokens are
appended at a steady rate, spread over time. A token says when it was due, so one that was appended
late counts as late, and none is left out because the one before took long. All clients are read; of
some, the tokens are looked at. The server's CPU time is that of its whole process.
"""

import argparse
import asyncio
import json
import os
import re
import resource
import select
import socket
import statistics
import sys
import time

import harness
from harness import (
    BenchmarkError,
    Process,
    find_port,
    open_websocket,
    wait_until_it_accepts,
)
from samples import Server

import sockwave

SLOT_COUNT = 20
"""The streams of a slot get their tokens together; the slots share out the time between tokens."""
WATCHED_COUNT = 100
"""Clients whose tokens are looked at."""
WARM_S = 2.0
NUMBERS = re.compile(rb'\[\d+,"(\d+) ')


async def serve(port: int, count: int, rate: float, seconds: float) -> None:
    """Be the server: append to each stream at a rate, and tell how it went."""
    server = sockwave.create_server(
        engine="epoll", ping_interval=None, max_backlog=1 << 20, append_size=1 << 30
    )
    server.topic("answer/*", envelope="compact")
    streams: list[sockwave.Topic] = []
    has_all = asyncio.Event()

    @server.on("connection")
    def connection(conn: sockwave.Connection) -> None:
        stream = server.topic(f"answer/{len(streams)}")
        conn.subscribe(stream.name)
        streams.append(stream)
        if len(streams) == count:
            has_all.set()

    server.listen(port, "127.0.0.1")
    async with server:
        await has_all.wait()
        slots = [streams[number::SLOT_COUNT] for number in range(SLOT_COUNT)]
        every_s = 1 / rate / SLOT_COUNT
        began_s = due_s = time.monotonic() + 0.1
        slot = appended = 0
        while due_s < began_s + WARM_S + seconds:
            now_s = time.monotonic()
            while due_s <= now_s:  # one that is behind has all that is due leave together
                token = f"{int(due_s * 1e9)} token"
                for stream in slots[slot]:
                    stream.append(token)
                appended += len(slots[slot])
                slot = (slot + 1) % SLOT_COUNT
                due_s += every_s
            await asyncio.sleep(max(due_s - time.monotonic(), 0))
        sys.stdout.write(json.dumps({"appended": appended, "dropped": server.dropped_count}) + "\n")
        sys.stdout.flush()
        await asyncio.sleep(seconds)  # until the clients have what was late
        server.close(drain=0)


class Clients:
    """All clients: they read what comes, and some look at it."""

    def __init__(self, port: int, count: int) -> None:
        self.poller = select.epoll()
        self.sockets: dict[int, socket.socket] = {}
        self.watched: dict[int, bytes] = {}
        for number in range(count):
            sock = open_websocket(port)
            sock.setblocking(False)
            self.sockets[sock.fileno()] = sock
            self.poller.register(sock.fileno(), select.EPOLLIN)
            if number * WATCHED_COUNT // count != (number - 1) * WATCHED_COUNT // count:
                self.watched[sock.fileno()] = b""

    def read(self, seconds: float) -> tuple[list[float], int]:
        """Read for so long; give how late the tokens came to those who look, in ms, and how many
        bytes all have read."""
        buffer = bytearray(1 << 16)
        late_ms: list[float] = []
        size = 0
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            for fd, _ in self.poller.poll(0.1):
                taken = self.sockets[fd].recv_into(buffer)
                if not taken:
                    raise BenchmarkError("the server has closed a connection")
                size += taken
                rest = self.watched.get(fd)
                if rest is not None:
                    now_ns = time.monotonic_ns()
                    text = rest + buffer[:taken]
                    last = 0
                    for found in NUMBERS.finditer(text):
                        late_ms.append((now_ns - int(found[1])) / 1e6)
                        last = found.end()
                    self.watched[fd] = text[last:]
        return late_ms, size


def measure(bench: harness.Bench, count: int, rate: float, seconds: float) -> dict[str, float]:
    """Run once; give what came of it."""
    port = find_port()
    command = [sys.executable, __file__, "--port", str(port), "--streams", str(count)]
    command += ["--rate", str(rate), "--seconds", str(seconds)]
    with Process(command, bench.server_core, bench.directory / "streams.log", piped=True) as one:
        wait_until_it_accepts(one, "the server", port)
        clients = Clients(port, count)
        clients.read(WARM_S)
        server = Server(one.pid)
        began_s = server.cpu_s()
        late_ms, size = clients.read(seconds)
        cpu_s = server.cpu_s() - began_s
        for sock in clients.sockets.values():
            sock.close()
    if not late_ms:
        raise BenchmarkError("no token has come")
    late_ms.sort()
    tokens = len(late_ms) / len(clients.watched) * count
    p50, p99 = (late_ms[int(len(late_ms) * part)] for part in (0.5, 0.99))
    return {
        "tokens_s": tokens / seconds,
        "cpu_us": cpu_s / tokens * 1e6,
        "cpu": cpu_s / seconds,
        "bytes": size / tokens,
        "p50_ms": p50,
        "p99_ms": p99,
        "max_ms": late_ms[-1],
    }


def main(options: argparse.Namespace) -> int:
    """Ask for each rate; returns 1 if something failed."""
    failures: list[str] = []
    found: dict[float, list[dict[str, float]]] = {}
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with harness.prepare(options) as bench:
        os.sched_setaffinity(0, {bench.client_core})
        machine = harness.describe_machine(bench)
        choice = harness.choose_peers(options.peers)
        harness.print_preface(machine, choice)
        try:
            for number in range(options.runs):
                for rate in options.rates:
                    harness.show_progress(
                        f"round {number + 1} of {options.runs}, {rate:g} a second"
                    )
                    one = measure(bench, options.streams, rate, options.seconds)
                    found.setdefault(rate, []).append(one)
            harness.show_progress("")
            show(found, options.streams)
        except harness.FAILURES as error:
            failures.append(str(error))
            print(f"FAILED: {error}")
    record = {"machine": machine, "rates": list(found.items()), "failures": failures}
    record["versions"] = choice.versions
    harness.write_results(options.output, "streams", record)
    return 1 if failures else 0


def show(found: dict[float, list[dict[str, float]]], count: int) -> None:
    """Print what came of each rate."""
    rows = []
    for rate, rounds in found.items():
        medians = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
        rows.append(
            [
                f"{rate:g}",
                f"{rate * count:,.0f}",
                f"{medians['tokens_s']:,.0f}",
                f"{medians['cpu_us']:.2f}",
                f"{100 * medians['cpu']:.0f} %",
                *(f"{medians[name]:.1f}" for name in ("p50_ms", "p99_ms", "max_ms")),
            ]
        )
    harness.print_table(
        f"{count:,} streams with a client each, one process",
        ["tokens/s each", "asked/s", "came/s", "us/token", "CPU", "p50 ms", "p99 ms", "max ms"],
        rows,
        ["from when a token was due until a client has read it; medians of the runs"],
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    harness.add_arguments(parser, runs=3, peers="sockwave")
    parser.add_argument("--streams", type=int, default=4_000, help="(default %(default)s)")
    parser.add_argument("--rates", type=float, nargs="*", default=[5.0, 20.0, 50.0])
    parser.add_argument("--rate", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help="be the server, on this port")
    arguments = parser.parse_args()
    if arguments.port is not None:
        asyncio.run(serve(arguments.port, arguments.streams, arguments.rate, arguments.seconds))
    else:
        if arguments.quick:
            arguments.streams, arguments.rates, arguments.runs = 400, [5.0, 50.0], 1
        sys.exit(main(arguments))
