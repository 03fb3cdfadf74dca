"""T9: the n-th allocation fails, over handshakes, echoes and closes of every kind.

One connection is lost at most, the process goes on, and nothing is left behind.
"""

import asyncio
import collections
import contextlib
import functools
import math
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TypeAlias

from faults.client import (
    BINARY,
    PING,
    RSV1,
    TEXT,
    Client,
    deflate,
    make_frame,
)
from faults.ledger import Stream, Verdict, make_message
from faults.processes import COUNTED, Served, growth
from faults.shim import Control, Shim

#: Who counts the lines that are reached takes memory at every call of a function: where that fails,
#: nobody can do anything about it, and the server ends.
UNCOUNTED = {"COVERAGE_PROCESS_START": None, "COVERAGE_PROCESS_CONFIG": None}
#: What a reply takes at most, on a machine that others use too.
PATIENCE_S = 4.0
#: What failed half may be left to a deadline, so that is within our patience.
OPTIONS = {
    "compression": True,
    "handshake_timeout": 1.0,
    "keep_alive_timeout": 1.0,
    "body_timeout": 1.0,
    "close_timeout": 1.0,
}
#: After so many points the server is asked what it holds.
ROUND_COUNT = 100
#: CPython (3.11) loses an argument that it finds no memory for the cell of.
LEFT_SHARE = 1e-3
#: What a failure leaves behind on the average: CPython (3.11) itself leaves about one block, at no
#: place in particular; what each failed connection left would be hundreds.
LEAKED_BLOCKS_PER_POINT = 2.0

HIXIE_REQUEST = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n"
    b"Origin: http://localhost\r\nSec-WebSocket-Key1: 4 @1  46546xW%0l 1 5\r\n"
    b"Sec-WebSocket-Key2: 12998 5 Y3 1  .P00\r\n\r\n^n:ds[4U"
)
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate\r\n"

#: A conversation with the server at a port, and whether it went through whole.
Conversation: TypeAlias = Callable[[int, Verdict], Awaitable[bool]]


#: How many allocations fail in a row, and of how many points one is tried: one alone; those of one
#: call; all on an error's path.
LONG = {"strides": {1: 1, 3: 20, 25: 40}, "leak_bar": LEAKED_BLOCKS_PER_POINT, "passes": 2}
# So few points do not fill the interpreter's caches, which a bar for leaks would be held against.
SHORT = {"strides": {1: 150, 25: 1500}, "leak_bar": math.inf}


async def converse(
    port: int, verdict: Verdict, *, target: str = "/", more: str = "", behind: bool = False
) -> bool:
    """Shake hands, have four messages echoed, one of them large and in pieces, and close."""
    stream = Stream(verdict.ledger, 1, start=994)  # 997 is a large one
    has_heard = asyncio.Event()

    def hear(opcode: int, payload: bytes) -> None:
        if opcode in (BINARY, TEXT):
            stream.hear(payload)
        if stream.heard_count == 998:
            has_heard.set()

    first = make_frame(stream.next_message()) if behind else b""
    client = await Client.open(port, target, hear, more=more, behind=first)
    try:
        await client.opened
        while stream.sent_count < 997:
            client.send(stream.next_message())
        client.send(b"ping", PING)
        message = stream.next_message()
        if more:
            client.write(make_frame(deflate(message), BINARY | RSV1))
        else:
            client.write(make_frame(message[:5], fin=False) + make_frame(message[5:], 0))
        client.ended.add_done_callback(lambda _: has_heard.set())
        await has_heard.wait()
        client.close()
        code = await client.ended
    finally:
        client.reset()
        is_whole = stream.heard_count == stream.sent_count
        stream.settle(explained=True)
    return is_whole and code == 1000


async def exchange(port: int, request: bytes, expected: bytes) -> bool:
    """Send bytes and read until the end; tell whether something was among them."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        return expected in await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def talk_hixie(port: int, verdict: Verdict) -> bool:
    """Have a message echoed by draft 76, and close."""
    frames = b"\x00hello\xff" + b"\xff\x00"
    return await exchange(port, HIXIE_REQUEST + frames, b"\x00hello\xff")


async def ask_http(port: int, verdict: Verdict) -> bool:
    """Ask for a page."""
    return await exchange(port, b"GET / HTTP/1.0\r\n\r\n", b"hello")


async def be_refused(port: int, verdict: Verdict) -> bool:
    """Ask for what is refused."""
    return await exchange(port, b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b" 400 ")


async def break_rules(port: int, verdict: Verdict) -> bool:
    """Send a text that is none, and be told so."""
    client = await Client.open(port)
    await client.opened
    try:
        client.send(b"\xff", TEXT)
        return await client.ended == 1007
    finally:
        client.reset()


async def vanish(port: int, verdict: Verdict) -> bool:
    """End with RST, in the middle of a message."""
    client = await Client.open(port)
    await client.opened
    client.write(make_frame(make_message(1, 0), fin=False) + make_frame(b"x" * 70000, 0)[:60000])
    client.reset()
    return True


async def read_late(port: int, verdict: Verdict) -> bool:
    """Let the server's echoes wait for us, then take them."""
    client = Client()
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, ("127.0.0.1", port))
    sizes = []
    client.hear = lambda opcode, payload: sizes.append(len(payload))
    await loop.create_connection(lambda: client, sock=sock)
    try:
        client.open_with("/")
        await client.opened
        client.transport.pause_reading()
        for _ in range(12):
            client.send(bytes(50000))
        await client.drain()
        client.transport.resume_reading()
        client.close()
        return await client.ended == 1000 and sizes.count(50000) == 12
    finally:
        client.reset()


CONVERSATIONS: dict[str, Conversation] = {
    "echo": functools.partial(converse, behind=True),
    "receive": functools.partial(converse, target="/receive"),
    "iterate": functools.partial(converse, target="/iterate"),
    "stream": functools.partial(converse, target="/stream"),
    "ping": functools.partial(converse, target="/ping"),
    "broadcast": functools.partial(converse, target="/broadcast"),
    "deflate": functools.partial(converse, more=DEFLATE),
    "hixie": talk_hixie,
    "http": ask_http,
    "refused": be_refused,
    "invalid": break_rules,
    "reset": vanish,
    "late": read_late,
}


class Bystander:
    """A connection that is idle while allocations fail: it must not notice."""

    def __init__(self, port: int, verdict: Verdict) -> None:
        self.port = port
        self.stream = Stream(verdict.ledger, 2)
        self.lost_count = 0
        self.heard = asyncio.Event()

    def hear(self, opcode: int, payload: bytes) -> None:
        """Take an echo; what others broadcast is not ours."""
        if opcode == BINARY and payload[:4] == b"\0\0\0\2":
            self.stream.hear(payload)
            self.heard.set()

    async def connect(self) -> None:
        """Connect anew."""
        self.client = await Client.open(self.port, "/", self.hear)
        await self.client.opened

    async def is_served(self) -> bool:
        """Have a message echoed; False where the connection was lost."""
        if self.client.transport.is_closing():
            await self.connect()
            return False
        self.heard.clear()
        self.client.send(self.stream.next_message())
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self.heard.wait()
        except TimeoutError:
            self.client.reset()
            return False
        return True


class Campaign:
    """One server, all of its fail points."""

    def __init__(self, served: Served, shim: Shim, verdict: Verdict) -> None:
        self.served = served
        self.shim = shim
        self.verdict = verdict
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.point_count = 0
        self.objects: collections.Counter[str] = collections.Counter()
        self.stranded_count = 0
        self.bystander = Bystander(served.port, verdict)

    async def warm_up(self) -> None:
        """Have all conversations without a fault, until nothing new is kept for later."""
        await self.bystander.connect()
        for round_number in range(5):
            for name, conversation in CONVERSATIONS.items():
                outcome = await self.have(conversation)
                self.verdict.require(outcome == "whole", f"{name} without a fault: {outcome}")
                # What errors are told with is made once, too.
                self.shim.fail_allocation(100 * round_number + 50)
                await self.have(conversation)
                self.shim.allow_allocations()
                # Where that has cost the bystander, in a broadcast, it comes back before anything
                # is counted; `settle` says so if nobody is there any more.
                with contextlib.suppress(OSError):
                    await self.bystander.is_served()
        self.before = await self.served.settle()
        self.living_count = self.shim.control.living_count

    async def have(self, conversation: Conversation) -> str:
        """Have a conversation, and tell how it ended."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                is_whole = await conversation(self.served.port, self.verdict)
        except TimeoutError:
            return "hung"
        except OSError:
            return "cut"
        return "whole" if is_whole else "cut"

    async def try_point(self, name: str, number: int, burst: int) -> bool:
        """Let the `number`-th allocation fail; False where there are no so many."""
        self.shim.fail_allocation(number, burst)
        outcome = await self.have(CONVERSATIONS[name])
        was_hit = self.shim.allow_allocations() > 0
        try:
            is_served = await self.bystander.is_served()
        except OSError:
            words = self.served.last_words()
            self.verdict.require(False, f"{name}, allocation {number}: it died: {words}")
            return False
        if not was_hit:
            return False
        self.point_count += 1
        if (
            outcome == "hung"
            and (await self.served.ask(self.served.port))["stranded"] > self.stranded_count
        ):
            outcome = "stranded"
        self.outcomes[outcome] += 1
        point = f"{name}, allocation {number}, {burst} failing"
        self.verdict.require(outcome != "hung", f"{point}: hung")
        if not is_served:
            self.bystander.lost_count += 1
            # A broadcast, or a ping, is the bystander's affair; then it is the one that is lost.
            alone = outcome == "whole"
            self.verdict.require(alone, f"{point}: {outcome}, and a second connection was lost")
        if self.point_count % ROUND_COUNT == 0:
            await self.check_growth(point)
        return True

    async def check_growth(self, point: str) -> None:
        """Ask the server whether it holds more than before."""
        after = await self.served.settle(self.before)
        self.stranded_count = after["stranded"]
        grown = growth(self.before, after)
        objects = {name: count for name, count in grown.items() if name not in COUNTED}
        self.objects.update(objects)
        fewer = self.before["carriers"] - after["carriers"]
        self.verdict.require(fewer <= 0, f"up to {point}: {fewer} carriers were uncounted twice")
        held = {name: count for name, count in grown.items() if name in COUNTED}
        self.verdict.require(not held, f"up to {point}: there is more {held}")
        if grown:
            self.before = after

    async def walk(self, names: Iterable[str], strides: Mapping[int, int]) -> None:
        """Try the points of each conversation: for each burst, one of so many."""
        for burst, stride in strides.items():
            for name in names:
                number = 1 + self.verdict.seed % stride
                while self.served.is_alive and await self.try_point(name, number, burst):
                    number += stride


async def run(
    engine: str,
    seed: int,
    *,
    strides: Mapping[int, int],
    leak_bar: float,
    passes: int = 1,
    names: Iterable[str] = CONVERSATIONS,
) -> Verdict:
    """Walk through the fail points; `strides` says, for each burst, which of them."""
    verdict = Verdict("T9", engine, seed)
    if engine == "asyncio":
        # Of several failures in a row one befalls what calls the core, and takes the call with it.
        strides = {1: strides[1]}
    shim = Shim(seed)
    try:
        settings = {"options": OPTIONS, "environment": {**shim.environment, **UNCOUNTED}}
        arguments = ["--survive"]
        if engine == "asyncio":
            arguments += ["--gate", str(Control.is_closed.offset)]
        async with Served.start(engine, *arguments, **settings) as served:
            campaign = Campaign(served, shim, verdict)
            await campaign.warm_up()
            for _ in range(passes):
                # What fills a cache has done so at the end of the first.
                campaign.living_count, first = shim.control.living_count, campaign.point_count
                await campaign.walk(names, strides)
            if served.is_alive:
                await campaign.check_growth("the end")
            leaked = shim.control.living_count - campaign.living_count
            leaked /= campaign.point_count - first
            state = (
                await served.ask(served.port) if served.is_alive else {"survived": 0, "stranded": 0}
            )
            crashes = 0 if served.is_alive else 1
    finally:
        shim.close()
    outcomes = campaign.outcomes
    verdict.require(leaked < leak_bar, "memory leaks")
    for kind, count in campaign.objects.items():
        few = count <= max(1, campaign.point_count * LEFT_SHARE)
        verdict.require(few, f"{count} of {kind} are left")
    return verdict.close(
        f"{campaign.point_count} fail points, {crashes} crashes, "
        f"{leaked:.2f} blocks leaked at each; "
        f"{outcomes['whole']} conversations unharmed, {outcomes['cut']} cut, "
        f"{outcomes['hung']} hung, objects left {dict(campaign.objects) or 'none'}, "
        f"bystander lost {campaign.bystander.lost_count}, "
        f"{state['survived']} times asyncio's own loop had to be caught, "
        f"{state['stranded']} tasks that it stranded"
    )
