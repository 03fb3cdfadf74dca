"""How many instructions does a message cost the server, and how many bytes an idle connection?

valgrind's callgrind counts what the server executes outside of the kernel. A question is asked with
a smaller and with a larger number, and the difference divided by the difference: what happens once
is not in it. The client waits until the server is idle before it sends anything, so that the same
wake-ups come in every run, and no time passes for the server (`counted.py`): the figures of two
runs differ by less than 0.1 %. `--against` names the interpreter of another environment, whose
sockwave is counted beside this one.

The memory of an idle connection is measured as `memory.py` does it.
"""

import argparse
import dataclasses
import shutil
import statistics
import sys
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import documents
import harness
import memory
from counting import FIN, RSV1, TEXT, Counted, frame_of
from harness import Bench, BenchmarkError

HERE = Path(__file__).resolve().parent
SETTLING_COUNT = 1
"""Rounds before those that count: what is done only once, and what the interpreter learns."""
SIZE, DEFLATED_SIZE = 20, 1024
NO_CONTEXT = "permessage-deflate; client_no_context_takeover; server_no_context_takeover"
CONTEXT = "permessage-deflate; client_max_window_bits"
TAIL = b"\x00\x00\xff\xff"
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"

ENGINES = {
    "epoll": ("--engine", "epoll"),
    "epoll, server.run()": ("--engine", "epoll", "--own-loop"),
    "asyncio": ("--engine", "asyncio"),
}
MEMORY_KINDS = ("plain", "TLS", "deflate")
MEMORY_PEERS = {"epoll": "sockwave", "asyncio": "sockwave-asyncio-engine"}


# ---- the questions


Count = Callable[[Counted, int], int]


@dataclass(frozen=True)
class Question:
    """What is counted for a smaller and a larger number; `scale` are the units of one of them."""

    title: str
    unit: str
    count: Count
    small: int
    large: int
    scale: int = 1

    def ask(self, server: Counted, round_count: int) -> list[float]:
        """Give the figures of so many rounds."""
        costs = []
        for _ in range(SETTLING_COUNT + round_count):
            small, large = self.count(server, self.small), self.count(server, self.large)
            costs.append((large - small) / (self.scale * (self.large - self.small)))
        return costs[SETTLING_COUNT:]


def count_echo(listener: str, depth: int) -> Count:
    """Count batches: each leaves in one write, and all of its answers are read before the next."""
    text = b"x" * SIZE
    batch = frame_of(text) * depth

    def count(server: Counted, batch_count: int) -> int:
        found: list[int] = []
        server.order(listener)
        wire = server.connect()
        with server.counting(found):
            for _ in range(batch_count):
                wire.socket.sendall(batch)
                for _ in range(depth):
                    wire.expect(text)
                server.wait_until_idle()
        server.disconnect([wire])
        return found[0]

    return count


def count_deflated(offer: str, depth: int) -> Count:
    """Count compressed echoes; every answer is inflated and compared."""
    texts = documents.make_documents(DEFLATED_SIZE)[:depth]
    bodies = documents.compress(texts, documents.LEAST_WINDOW_BITS)
    batch = b"".join(frame_of(body, FIN | RSV1 | TEXT) for body in bodies)

    def count(server: Counted, batch_count: int) -> int:
        found: list[int] = []
        server.order("def")
        wire = server.connect(offer=offer)
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        with server.counting(found):
            for _ in range(batch_count):
                wire.socket.sendall(batch)
                for text in texts:
                    first_byte, payload = wire.read_frame()
                    if inflater.decompress(payload + TAIL) != text or not first_byte & RSV1:
                        raise BenchmarkError("a compressed answer is wrong")
                server.wait_until_idle()
        server.disconnect([wire])
        return found[0]

    return count


def count_handshakes(server: Counted, handshake_count: int) -> int:
    """Count opening handshakes, from connect to the answer; closing is not in it."""
    found: list[int] = []
    server.order("nothing")
    with server.counting(found):
        wires = [server.connect() for _ in range(handshake_count)]
    server.disconnect(wires)
    return found[0]


BROADCAST_COUNT = 100


def count_deliveries(server: Counted, receiver_count: int) -> int:
    """Count broadcasts to so many."""
    found: list[int] = []
    text = b"x" * SIZE
    server.order("broadcast")
    wires = [server.connect() for _ in range(receiver_count)]
    with server.counting(found):
        for _ in range(BROADCAST_COUNT):
            wires[0].socket.sendall(frame_of(text))
            for wire in (server.wire, *wires):
                wire.expect(text)
            server.wait_until_idle()
    server.disconnect(wires)
    return found[0]


def count_requests(server: Counted, request_count: int) -> int:
    """Count plain requests on one connection."""
    found: list[int] = []
    wire = server.connect(upgrade=False)
    with server.counting(found):
        for _ in range(request_count):
            wire.socket.sendall(GET)
            head = wire.read_head()
            _, _, size = head.lower().partition("content-length: ")
            if not head.startswith("HTTP/1.1 200 ") or not size:
                raise BenchmarkError(f"expected 200 and a length, got {head.splitlines()[0]}")
            wire.read(int(size.split()[0]))
            server.wait_until_idle()
    server.disconnect([wire])
    return found[0]


QUESTIONS = [
    Question("echo of 20 B, depth 32", "message", count_echo("def", 32), 20, 120, 32),
    Question("echo of 20 B, depth 1", "message", count_echo("def", 1), 50, 550),
    Question("async def, depth 32", "message", count_echo("async-def", 32), 20, 60, 32),
    Question("async def, depth 1", "message", count_echo("async-def", 1), 50, 250),
    Question("opening handshake", "handshake", count_handshakes, 32, 128),
    Question("broadcast", "delivery", count_deliveries, 16, 80, BROADCAST_COUNT),
    Question("GET", "request", count_requests, 50, 250),
    Question("compressed echo of 1 KiB", "message", count_deflated(NO_CONTEXT, 32), 1, 3, 32),
    Question("the same with context", "message", count_deflated(CONTEXT, 32), 1, 3, 32),
]


def count_all(
    bench: Bench, python: str, engine: str, options: argparse.Namespace
) -> dict[str, list[float]]:
    """Ask all questions of one build, on one engine."""
    counter = harness.compile_program(HERE / "counter.c", bench.directory, "-shared", "-fPIC")
    arguments = [*ENGINES[engine], "--counter", str(counter), "--zlib", options.zlib]
    port = harness.find_port()
    costs = {}
    with Counted(python, port, bench.directory, arguments) as server:
        for question in QUESTIONS:
            if options.only in question.title:
                harness.show_progress(f"{engine}, {python}: {question.title}")
                costs[question.title] = question.ask(server, options.rounds)
    harness.show_progress("")
    return costs


# ---- bytes of idle connections


def measure_memory(
    plain: Bench, python: str, name: str, kind: str, options: argparse.Namespace
) -> list[float]:
    """Give the bytes of an idle connection, of each run."""
    bench, count = plain, options.connections
    if kind == "TLS":
        bench = harness.encrypt(plain)
        count = min(count, options.connections // 5)
    elif kind == "deflate":
        bench = harness.compress(plain, "no-context")
    peer = dataclasses.replace(harness.PEERS[name], python=python)
    costs = []
    for number in range(options.runs):
        harness.show_progress(f"{count:,} idle, {kind}, {name}, run {number + 1}: {python}")
        found = memory.measure(bench, name, peer, count)
        costs.append((found["after_bytes"] - found["before_bytes"]) / count)
    harness.show_progress("")
    return costs


# ---- tables


@dataclass
class Table:
    """What was asked → the figures of each build; the old one is the first of two."""

    title: str
    columns: tuple[str, ...]
    digits: int
    rows: dict[tuple[str, ...], list[list[float]]] = field(default_factory=dict)

    def show(self) -> None:
        """Print the medians: old, new, ratio; or what there is. The spread is over the rounds."""
        is_compared = any(len(figures) > 1 for figures in self.rows.values())
        results = ("old", "new", "new / old") if is_compared else ("figure",)
        rows = []
        for key, figures in self.rows.items():
            medians = [statistics.median(own) for own in figures]
            cells = [f"{median:,.{self.digits}f}" for median in medians]
            if is_compared:
                cells.append(f"{medians[1] / medians[0]:.4f}")
            spread = max(
                (max(own) - min(own)) / median for own, median in zip(figures, medians, strict=True)
            )
            rows.append([*key, *cells, f"{spread:.2%}"])
        harness.print_table(self.title, [*self.columns, *results, "spread"], rows)

    def to_json(self) -> list[dict[str, Any]]:
        """Give all figures."""
        return [{"question": key, "figures": figures} for key, figures in self.rows.items()]


def fill_instructions(
    bench: Bench, builds: Sequence[str], engines: Sequence[str], options: argparse.Namespace
) -> Table:
    columns = ("engine", "question", "for each")
    table = Table("Instructions outside of the kernel", columns, 1)
    for engine in engines:
        found = [count_all(bench, python, engine, options) for python in builds]
        for question in QUESTIONS:
            if question.title in found[0]:
                key = (engine, question.title, question.unit)
                table.rows[key] = [costs[question.title] for costs in found]
    return table


def fill_memory(
    bench: Bench, builds: Sequence[str], engines: Sequence[str], options: argparse.Namespace
) -> Table:
    title = f"Bytes of an idle connection, {options.connections:,} of them, a fifth with TLS"
    table = Table(title, ("engine", "kind"), 0)
    for engine, name in MEMORY_PEERS.items():
        for kind in MEMORY_KINDS if engine in engines else ():
            table.rows[engine, kind] = [
                measure_memory(bench, python, name, kind, options) for python in builds
            ]
    return table


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--against", metavar="PYTHON", help="of an environment with another sockwave: the old one")
    add("--engines", default=";".join(ENGINES), help="those to ask (default %(default)s)")
    add("--only", default="", help="the questions whose title has this in it")
    add("--rounds", type=int, default=3, help="of instructions (default %(default)s)")
    add("--zlib", choices=["default", "zlib"], default="default", help="what compresses")
    add("--no-memory", action="store_true", help="count instructions only")
    add("--no-instructions", action="store_true", help="measure memory only")
    add("--connections", type=int, default=10_000, help="idle ones (default %(default)s)")
    add("--quick", action="store_true", help="one round on the epoll engine, fewer idle ones")
    harness.add_arguments(parser, runs=1, timed=False)
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.engines, options.connections = 1, "epoll", 2_000
    unknown = set(options.engines.split(";")) - set(ENGINES)
    if unknown:
        parser.error(f"--engines: expected some of {'; '.join(ENGINES)}, given {unknown}")
    return options


def main() -> int:
    """Count, measure, print the tables; returns 1 if something failed, 0 without valgrind."""
    options = read_arguments()
    header = Path("/usr/include/valgrind/callgrind.h")
    if not options.no_instructions and (shutil.which("valgrind") is None or not header.exists()):
        print("SKIPPED instructions: no valgrind with its headers; run: apt-get install valgrind")
        options.no_instructions = True
    builds = [*([options.against] if options.against else []), sys.executable]
    engines = options.engines.split(";")
    tables: dict[str, Table] = {}
    failures: list[str] = []
    with harness.prepare(options) as bench:
        machine = harness.describe_machine(bench)
        print(f"{machine['processor']}, Linux {machine['kernel']}\n", flush=True)
        try:
            if not options.no_instructions:
                tables["instructions"] = fill_instructions(bench, builds, engines, options)
                tables["instructions"].show()
            if not options.no_memory:
                tables["memory"] = fill_memory(bench, builds, engines, options)
                tables["memory"].show()
        except harness.FAILURES as error:
            failures.append(str(error))
            print(f"FAILED: {error}")
    record = {"machine": machine, "failures": failures}
    record |= {name: table.to_json() for name, table in tables.items()}
    harness.write_results(options.output, "instructions", record)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
