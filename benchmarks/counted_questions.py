"""The questions of `instructions.py`: what is counted for a smaller and for a larger number."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

from counting import FIN, RSV1, TEXT, Counted, Wire, frame_of
from harness import BenchmarkError

from sockwave.loadgen import documents

SETTLING_COUNT = 1
"""Rounds before those that count: what is done only once, and what the interpreter learns."""
SIZE, DEFLATED_SIZE = 20, 1024
NO_CONTEXT = "permessage-deflate; client_no_context_takeover; server_no_context_takeover"
CONTEXT = "permessage-deflate; client_max_window_bits"
TAIL = b"\x00\x00\xff\xff"
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"

Count = Callable[[Counted, int], int]


@dataclass(frozen=True)
class Question:
    """What is counted for a smaller and a larger number; `scale` are the units of one of them.

    `serve` is what the server is told (`counted.py`).
    """

    title: str
    unit: str
    count: Count
    small: int
    large: int
    scale: int = 1
    serve: tuple[str, ...] = ()

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


def count_requests(depth: int) -> Count:
    """Count plain requests on one connection, so many of them pipelined."""

    def count(server: Counted, batch_count: int) -> int:
        found: list[int] = []
        wire = server.connect(upgrade=False)
        with server.counting(found):
            for _ in range(batch_count):
                wire.socket.sendall(GET * depth)
                for _ in range(depth):
                    expect_answer(wire)
                server.wait_until_idle()
        server.disconnect([wire])
        return found[0]

    return count


def expect_answer(wire: Wire) -> None:
    """Read an answer to its end; BenchmarkError unless it is a 200."""
    head = wire.read_head()
    _, _, size = head.lower().partition("content-length: ")
    if not head.startswith("HTTP/1.1 200 ") or not size:
        raise BenchmarkError(f"expected 200 and a length, got {head.splitlines()[0]}")
    wire.read(int(size.split()[0]))


QUESTIONS = [
    Question("echo of 20 B, depth 32", "message", count_echo("def", 32), 20, 120, 32),
    Question("echo of 20 B, depth 1", "message", count_echo("def", 1), 50, 550),
    Question("async def, depth 32", "message", count_echo("async-def", 32), 20, 60, 32),
    Question("async def, depth 1", "message", count_echo("async-def", 1), 50, 250),
    Question("opening handshake", "handshake", count_handshakes, 32, 128),
    Question("broadcast", "delivery", count_deliveries, 16, 80, BROADCAST_COUNT),
    Question("GET", "request", count_requests(1), 50, 250),
    Question("GET, 16 pipelined", "request", count_requests(16), 10, 30, 16),
    Question("GET, ASGI", "request", count_requests(1), 50, 250, serve=("--asgi",)),
    Question(
        "GET, ASGI, 16 pipelined", "request", count_requests(16), 10, 30, 16, serve=("--asgi",)
    ),
    Question("compressed echo of 1 KiB", "message", count_deflated(NO_CONTEXT, 32), 1, 3, 32),
    Question("the same with context", "message", count_deflated(CONTEXT, 32), 1, 3, 32),
]
