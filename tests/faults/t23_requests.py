"""T23: HTTP under load: slow bodies, floods of pipelined requests, answers that nobody reads.

The `request` event answers, which never reads some bodies, and never ends some answers.

As in T11 the good clients are served nearly as fast as before, every attacker is closed, and memory
comes back. Half of the good clients echo, the others ask for a page.
"""

import asyncio
import time
from collections.abc import Mapping

from faults.client import abort_transport
from faults.ledger import Verdict
from faults.t11_floods import INTERVAL_S, Bystander, Good
from faults.t11_floods import run as run_floods

FULL: Mapping[str, int] = {
    "bodies": 1000,
    "requests": 20,
    "deaf": 500,
    "unread": 200,
    "endless": 200,
}
SMALL: Mapping[str, int] = {"bodies": 20, "requests": 3, "deaf": 5, "unread": 5, "endless": 5}

#: Deadlines that are all over within the patience of T11.
DEADLINES = {"keep_alive_timeout": 10.0, "answer_timeout": 10.0, "body_timeout": 10.0}
LONG = {"counts": FULL, "seconds": 20.0, "rounds": 3, "options": DEADLINES}
SHORT = {
    "counts": SMALL,
    "seconds": 1.0,
    "rounds": 1,
    "patience_s": 90.0,  # of which a quiet machine needs three; a loud one stops clocks
    "paced": False,
    "options": {
        "keep_alive_timeout": 2.0,
        "answer_timeout": 2.0,
        "body_timeout": 2.0,
        "write_timeout": 2.0,
    },
}

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
END = b"\r\n\r\nhello"
#: Behind the last request, for its answer.
ANSWER_S = 10.0


class Asking(asyncio.Protocol):
    """A client that asks for a page at its own pace, and notes how long each answer takes."""

    transport: asyncio.Transport

    def __init__(self, verdict: Verdict) -> None:
        self.ledger = verdict.ledger
        self.latencies: list[float] = []
        self.is_over = self.has_ended = False
        self.sent_at: list[float] = []
        self.heard_count = 0
        self.input = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Take answers; one that is not right is corrupt."""
        self.input += data
        while (end := self.input.find(END)) >= 0:
            is_right = self.input.startswith(b"HTTP/1.1 200 OK\r\n")
            self.input = self.input[end + len(END) :]
            self.ledger.delivered += is_right
            self.ledger.corrupted += not is_right
            self.latencies.append(time.perf_counter() - self.sent_at[self.heard_count])
            self.heard_count += 1

    def connection_lost(self, error: Exception | None) -> None:
        self.has_ended = True

    async def talk(self, port: int, start: float) -> bool:
        """Ask until told to end; True if the connection stood all the time."""
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self, "127.0.0.1", port)
        due = time.perf_counter() + start
        while not self.is_over and not self.has_ended:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            due += INTERVAL_S
            self.sent_at.append(time.perf_counter())
            self.ledger.published += 1
            self.transport.write(REQUEST)
        end = time.monotonic() + ANSWER_S
        while self.heard_count < len(self.sent_at) and time.monotonic() < end:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        stood = not self.has_ended
        abort_transport(self.transport)
        self.ledger.expected += len(self.sent_at)
        self.ledger.lost += len(self.sent_at) - self.heard_count
        return stood


def make_good(verdict: Verdict, sender: int) -> Bystander:
    """Make one that echoes, or one that asks."""
    return Good(verdict, sender) if sender % 2 else Asking(verdict)


async def run(engine: str, seed: int, **scale: object) -> Verdict:
    """Run what T11 does, with other attackers."""
    return await run_floods(engine, seed, fault="T23", make_good=make_good, **scale)  # type: ignore[arg-type]
