"""T17: a million connects and disconnects, of every kind; nothing is left behind.

Memory may grow while caches fill up, so its slope is taken over the second half.
"""

import asyncio
import math
import random
import socket
import time
from collections.abc import Callable

from faults.client import BINARY, make_close, make_frame, make_request
from faults.ledger import Ledger, Stream, Verdict, make_message
from faults.processes import Served, choose_cores, growth, reset

#: Connections that are open at once.
BATCH_COUNT = 100
#: Memory is looked at so many times.
SAMPLE_COUNT = 50
#: In KB per 100,000 connections: a byte for each is what an allocator's noise may come to.
SLOPE_KB = 100.0
#: All of 127/8 is loopback: each address has 28,000 ports, which rest for a minute after a close.
ADDRESS_COUNT = 64
PATIENCE_S = 20.0

REQUEST = make_request()
HEAD_END = b"\r\n\r\n"
CLOSED = b"\x88\x02\x03\xe8"


# The first thousands of connections fill caches, so a short run has no slope to speak of.
LONG = {"connection_count": 1_000_000, "slope_bar_kb": SLOPE_KB}
SHORT = {"connection_count": 2_000, "slope_bar_kb": math.inf}


class Batch:
    """Connections that are made together, and end together in one way."""

    def __init__(self, port: int, ledger: Ledger, first: int, count: int) -> None:
        self.ledger = ledger
        self.first = first
        self.sockets = []
        for number in range(first, first + count):
            one = socket.socket()
            one.settimeout(PATIENCE_S)
            one.bind((f"127.0.0.{2 + number % ADDRESS_COUNT}", 0))
            one.connect(("127.0.0.1", port))
            self.sockets.append(one)

    def send(self, data: bytes) -> None:
        """Send the same on all of them."""
        for one in self.sockets:
            one.sendall(data)

    def receive(self, end: bytes) -> list[bytes]:
        """Read from each until something comes."""
        return [receive_until(one, end) for one in self.sockets]

    def close(self) -> None:
        """Close them in order."""
        for one in self.sockets:
            one.close()

    # ---- the ways to end

    def close_cleanly(self) -> None:
        """An echo and a closing handshake; the server ends first."""
        streams = [Stream(self.ledger, self.first + i) for i in range(len(self.sockets))]
        for one, stream in zip(self.sockets, streams, strict=True):
            one.sendall(REQUEST + make_frame(stream.next_message()) + make_close())
        for one, stream in zip(self.sockets, streams, strict=True):
            answer = receive_until(one, CLOSED)
            frame = answer.partition(HEAD_END)[2].removesuffix(CLOSED)
            stream.hear(frame[{126: 4, 127: 10}.get(frame[1], 2) :])
            stream.settle()
        self.close()

    def reset_open(self) -> None:
        """RST behind the handshake."""
        self.send(REQUEST)
        self.receive(HEAD_END)
        reset(self.sockets)

    def end_open(self) -> None:
        """FIN without a close frame."""
        self.send(REQUEST)
        self.receive(HEAD_END)
        self.close()

    def leave_half_a_handshake(self) -> None:
        """FIN in the middle of the request."""
        self.send(REQUEST[:60])
        self.close()

    def reset_half_a_handshake(self) -> None:
        """RST in the middle of the request."""
        self.send(REQUEST[:90])
        reset(self.sockets)

    def leave_half_a_message(self) -> None:
        """FIN in the middle of a message, in the middle of a frame."""
        message = make_message(1, 0) + bytes(5000)
        self.send(REQUEST + make_frame(b"a", BINARY, fin=False) + make_frame(message, 0)[:3000])
        self.receive(HEAD_END)
        self.close()

    def reset_half_a_message(self) -> None:
        """RST at the same place."""
        self.send(REQUEST + make_frame(bytes(100000))[:50000])
        self.receive(HEAD_END)
        reset(self.sockets)

    def say_nothing(self) -> None:
        """FIN at once."""
        self.close()

    def leave_unread(self) -> None:
        """Go while the echo is on its way."""
        self.send(REQUEST + make_frame(bytes(3000)) * 3)
        self.close()

    def break_rules(self) -> None:
        """An unmasked frame, and the end of it."""
        self.send(REQUEST + b"\x81\x01a")
        self.receive(b"\x88")
        self.close()

    def ask_http(self) -> None:
        """An ordinary request."""
        self.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.receive(b"hello")
        self.close()


ENDS: tuple[Callable[[Batch], None], ...] = (
    Batch.close_cleanly,
    Batch.close_cleanly,
    Batch.reset_open,
    Batch.end_open,
    Batch.leave_half_a_handshake,
    Batch.reset_half_a_handshake,
    Batch.leave_half_a_message,
    Batch.reset_half_a_message,
    Batch.say_nothing,
    Batch.leave_unread,
    Batch.break_rules,
    Batch.ask_http,
)


def receive_until(one: socket.socket, end: bytes) -> bytes:
    """Read until the bytes are there, or the end is."""
    data = b""
    while end not in data:
        piece = one.recv(65536)
        if not piece:
            break
        data += piece
    return data


def slope_kb(samples: list[tuple[int, int]]) -> float:
    """Fit a line to (connections, bytes); in KB per 100,000 connections."""
    xs, ys = zip(*samples, strict=True)
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - mean_x) ** 2 for x in xs) or 1
    rise = sum((x - mean_x) * (y - mean_y) for x, y in samples)
    return rise / spread * 1e5 / 1024


async def run(engine: str, seed: int, *, connection_count: int, slope_bar_kb: float) -> Verdict:
    """Connect and disconnect so many times."""
    verdict = Verdict("T17", engine, seed)
    chance = random.Random(seed)
    server_core, _ = choose_cores()
    samples = []
    opened = 0
    async with Served.start(engine, core=server_core) as served:
        for end in ENDS:  # what is made once, by the first of a kind, is made now
            await asyncio.to_thread(end, Batch(served.port, verdict.ledger, 0, BATCH_COUNT))
        before = await served.settle()
        began = time.monotonic()
        sample_at = 0.0
        while opened < connection_count:
            batch = Batch(served.port, verdict.ledger, opened, BATCH_COUNT)
            await asyncio.to_thread(chance.choice(ENDS), batch)
            opened += BATCH_COUNT
            if opened >= sample_at:
                samples.append((opened, served.resident_size))
                sample_at += connection_count / SAMPLE_COUNT
        seconds = time.monotonic() - began
        after = await served.settle(before)
        cpu_s = served.cpu_s
    grown = growth(before, after)
    slope = slope_kb(samples[len(samples) // 2 :])
    verdict.require(not grown, f"there is more {grown}")
    verdict.require(slope < slope_bar_kb, f"memory grows by {slope:.0f} KB per 100,000")
    return verdict.close(
        f"{opened} connections of {len(set(ENDS))} kinds at {opened / seconds:.0f}/s "
        f"({cpu_s / opened * 1e6:.0f} us of CPU each), RSS slope {slope:+.1f} KB per 100,000, "
        f"more than at the start: {grown or 'nothing'}"
    )
