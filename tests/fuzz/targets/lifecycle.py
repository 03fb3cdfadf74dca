"""What the application and two peers do to their connections, in any order, inside events too.

The input is a program, one byte for each step. Nothing is compared with a model here: what is
looked for is what the sanitizers see, exceptions that get out, events out of place, and frames that
are torn or out of order.
"""

import asyncio
import contextlib
import functools
from typing import Any

import reference
from reference import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Frame

from fuzz.conversation import EVENT_CODES
from fuzz.loop import running
from fuzz.memory import MemoryServer, Peer
from sockwave import Deflate
from sockwave.deflate import Agreement, negotiate
from sockwave.errors import ConnectionClosed, SockwaveError

SLOW = ("close", "drop_new", "drop_old", "conflate")
VERSIONS = ("rfc6455", "rfc6455", "draft76", "draft75")
OFFER = ["permessage-deflate; client_max_window_bits"]
SETTINGS = (
    Deflate(threshold=8),
    Deflate(threshold=8, server_context_takeover=True, client_context_takeover=True),
)


class Boom(Exception):  # noqa: N818 - what a listener of an application may raise
    """Raised by a listener, to see that it goes no further."""


@functools.cache
def server(slow: str) -> MemoryServer:
    """Give the server with that policy, its limits so low that every one of them is met."""
    return MemoryServer(
        slow=slow,
        max_size=400,
        queue_count=3,
        queue_size=500,
        high_water=256,
        low_water=64,
        max_backlog=1024,
        max_tasks=2,
        close_timeout=5.0,
        control_rate=1.0,
        control_burst=4,
        message_rate=5.0,
        byte_rate=2000.0,
        fragment_count=3,
    )


class Client:
    """One peer, its connection, and what the application does with it."""

    def __init__(self, front: MemoryServer, version: str, agreement: Agreement | None) -> None:
        self.front = front
        self.is_draft = version.startswith("draft")
        self.events: list[tuple[object, ...]] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.reactions: dict[str, int] = {}
        self.peer = Peer
        self.peer = front.open(version, agreement)
        self.connection = self.peer.connection
        self.listener = functools.partial(self.heard, "message")
        self.listen()
        for event in ("ping", "pong", "drain", "close", "readyStateChange"):
            self.connection.on(event, functools.partial(self.heard, event))

    def listen(self) -> None:
        """Hear messages, unless somebody takes them, or they are heard already. Behind the close, a
        listener would get those that still wait, and nobody else has taken."""
        is_over = any(event[0] == "close" for event in self.events)
        if not is_over and not self.connection.listeners("message"):
            with contextlib.suppress(SockwaveError):
                self.connection.on("message", self.listener)

    def heard(self, event: str, *details: object) -> None:
        """Take note of an event, and do what has been planned for it."""
        self.events.append((event, *details))
        assert len(self.events) < 10_000, "events without end"
        reaction = self.reactions.pop(event, None)
        if reaction is not None:
            self.react(reaction)

    def react(self, reaction: int) -> None:
        """Do something in the middle of an event."""
        if reaction == 0:
            self.connection.close(4000, "inside")
        elif reaction == 1:
            self.connection.abort()
        elif reaction == 2:
            raise Boom
        elif reaction == 3:
            self.send("s" * 300)
        elif reaction == 4:
            self.connection.remove_listener("message", self.listener)
        elif reaction == 5:
            self.front.server.broadcast("b" * 300)
        elif reaction == 6:
            for other in list(self.front.server.connections):
                other.abort()
        else:
            self.start(self.receive())

    def send(self, message: str | bytes, **options: Any) -> None:
        """Send, whether or not that is possible just now."""
        with contextlib.suppress(ConnectionClosed):
            if self.is_draft and not isinstance(message, str):
                return
            self.connection.send(message, **options)

    def start(self, coroutine: Any) -> None:
        """Run something beside all else."""
        self.tasks.append(self.front.loop.create_task(coroutine))

    async def receive(self) -> None:
        """Receive one message, in the listener's place."""
        self.connection.off("message", self.listener)
        with contextlib.suppress(SockwaveError, TimeoutError):  # another may have begun to listen
            await self.connection.receive(timeout=3.0)
        self.listen()

    async def stream(self, count: int) -> None:
        """Take some chunks of the next message, in the listener's place."""
        self.connection.off("message", self.listener)
        with contextlib.suppress(SockwaveError):
            async for _ in self.connection.stream(max_size=800):
                count -= 1
                if count < 0:
                    break
        self.listen()

    async def stream_out(self, count: int) -> None:
        """Send a message in pieces."""
        with contextlib.suppress(ConnectionClosed):
            async with self.connection.stream_message("text") as out:
                for _ in range(count):
                    await out.write("piece " * 10)
                    await asyncio.sleep(0.5)

    async def ping(self) -> None:
        """Send a ping, and wait for the answer, which may not come in time."""
        with contextlib.suppress(ConnectionClosed, TimeoutError, TypeError):
            await self.connection.ping(b"ours")

    def write(self, frame: Frame) -> None:
        """Have the peer send a frame, or what the drafts have in its place."""
        if not self.is_draft:
            self.peer.send(reference.serialize(frame))
        elif frame.opcode == CLOSE:
            self.peer.send(b"\xff\x00")
        else:
            self.peer.send(reference.serialize_hixie(frame.payload.replace(b"\xff", b"")))

    def step(self, step: int, argument: int) -> None:
        """Do one step of the program."""
        if step == 0:
            self.write(Frame(TEXT, b"t" * argument * 3))
        elif step == 1:
            self.write(Frame(BINARY, bytes([argument]) * (argument * 28)))
        elif step == 2:
            self.write(Frame((TEXT, CONTINUATION)[argument & 1], b"f" * 40, bool(argument & 2)))
        elif step == 3:
            self.write(Frame((PING, PONG)[argument & 1], (b"p" * argument, b"ours")[argument & 1]))
        elif step == 4:
            self.write(Frame(CLOSE, (b"", b"\x03\xe8", b"\x0f\xa1why")[argument % 3]))
        elif step == 5:
            self.peer.send(bytes([(0x81, 0x01, 0xFE, 0xC1, 0x89, 0xFF, 0x80, 0x88)[argument & 7]]))
        elif step == 6:
            slow = (None, *SLOW)[argument % 5]
            key = argument & 3 if slow == "conflate" else None
            self.send("a" * argument * 20, slow=slow, key=key)
        elif step == 7:
            self.send(b"\x00a" * argument * 16, compress=(None, True, False)[argument % 3])
        elif step == 8:
            self.connection.close(*((), (4001,), (4002, "reason"))[argument % 3])
        elif step == 9:
            self.peer.take((0, 1, 50, 500, None, None)[argument % 6])
        elif step == 10:
            self.front.pass_time((0.1, 0.5, 3.0, 30.0)[argument & 3], self.peer)
        elif step == 11:
            self.start(
                (self.receive, self.ping)[argument & 1]()
                if argument & 2
                else (self.stream, self.stream_out)[argument & 1](argument >> 2)
            )
        elif step == 12 and self.tasks:
            self.tasks.pop(argument % len(self.tasks)).cancel()
        elif step == 13:
            event = ("message", "ping", "drain", "close", "readyStateChange", "pong")
            self.reactions[event[argument % 6]] = argument % 8
        elif step == 14:
            self.front.server.broadcast("all " * argument * 10, slow=SLOW[argument % 3])
        elif step == 15:
            (self.peer.end, self.peer.reset, self.connection.abort, self.peer.end)[argument & 3]()

    def check(self) -> None:
        """Raise AssertionError where the connection did not end as it must."""
        closes = [event for event in self.events if event[0] == "close"]
        assert len(closes) == 1, f"{len(closes)} close events"
        assert closes[0][1] in EVENT_CODES, f"closed with {closes[0][1]}"
        assert self.events[-1] == closes[0], "an event behind the close"
        if not self.is_draft:
            check_order(bytes(self.peer.output))


def check_order(said: bytes) -> None:
    """Raise AssertionError unless whole frames were sent, in an order that 5.4 and 5.5.1 allow;
    the last one may be cut off by an end of the connection."""
    in_message = False
    while said:
        try:
            header = reference.parse_header(said, from_client=False, allowed_rsv=reference.RSV1)
        except reference.Violation as violation:
            raise AssertionError(f"sent a frame that is none: {said[:20]!r}") from violation
        if header is None:
            return
        frame, length, _, used = header
        said = said[used + length :]
        if frame.opcode == CLOSE:
            assert not said, "something behind a close frame"
        elif frame.opcode < CLOSE:
            assert in_message == (frame.opcode == CONTINUATION), "fragments out of order"
            in_message = not frame.fin


def run(data: bytes) -> None:
    """Run one program."""
    if not data:
        return
    front = server(SLOW[data[0] & 3])
    settings = SETTINGS[data[0] >> 4 & 1]
    agreement = negotiate(OFFER, settings) if data[0] & 0x40 else None
    version = VERSIONS[data[0] >> 2 & 3]
    clients = [
        Client(front, version, None if version.startswith("draft") else agreement),
        Client(front, "rfc6455", agreement),
    ]
    peers = [client.peer for client in clients]
    for byte in data[1:200]:
        if byte == 0xFF:
            clients.reverse()
            continue
        with running(front.loop):
            clients[0].step(byte & 15, byte >> 4)
        if not byte & 0x80:  # else the next step happens in the same turn of the loop
            front.settle(*peers)
    for client in clients:
        client.reactions.clear()
        client.peer.take(None)
        for task in client.tasks:
            task.cancel()
    front.settle(*peers)
    with running(front.loop):
        for client in clients:
            # The end of a peer that is not read is found out by a ping, which drafts have not.
            client.listen()
    front.errors[:] = [error for error in front.errors if not isinstance(error, Boom)]
    front.end(*peers)
    for client in clients:
        for task in client.tasks:
            if task.done() and not task.cancelled():
                task.result()
        client.check()
