"""T22: the server inside an ordinary program, which forks, starts processes, and uses threads.

Clients of every transport come, talk and vanish; whoever takes leave in order has been heard to the
last message, and nobody meets another's context variables.
"""

import asyncio
import contextlib
import itertools
import random
import signal
import ssl
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trustme

from faults.client import BINARY, Client
from faults.ledger import Stream, Verdict
from faults.processes import Process

CLIENT_COUNT = 24
CARRIERS = ("plain", "tls", "unix")
PATHS = ("/sync", "/async", "/task")
#: How a conversation ends: a closing handshake behind the last echo, or right behind the last
#: message; without a word; by RST.
ENDS = ("answered", "at once", "vanish", "reset")
#: What is waited for, at most: on a machine that does other things as well.
PATIENCE_S = 30.0

LONG = {"seconds": 60.0}
SHORT = {"seconds": 3.0}


@dataclass
class Crowd:
    """Clients that come, talk and go until their time is over."""

    ports: list[int]
    path: str
    context: ssl.SSLContext
    verdict: Verdict
    chance: random.Random
    end: float = 0.0
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    #: By client: messages that have to have been handled at the end.
    due: dict[str, int] = field(default_factory=dict)
    visit_count: int = 0
    request_count: int = 0

    async def run(self, seconds: float) -> None:
        """Visit for so long."""
        self.end = time.monotonic() + seconds
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENT_COUNT):
                group.create_task(self.keep_coming())

    async def keep_coming(self) -> None:
        """Come again and again."""
        while time.monotonic() < self.end:
            transport = self.chance.choice(CARRIERS)
            async with asyncio.timeout(PATIENCE_S):
                if self.chance.random() < 0.25:
                    await self.ask(transport)
                else:
                    await self.visit(transport)

    async def connect(self, transport: str, client: Client) -> None:
        """Connect by one of the carriers."""
        loop = asyncio.get_running_loop()
        if transport == "unix":
            await loop.create_unix_connection(lambda: client, self.path)
        elif transport == "tls":
            await loop.create_connection(
                lambda: client, "127.0.0.1", self.ports[1], ssl=self.context
            )
        else:
            await loop.create_connection(lambda: client, "127.0.0.1", self.ports[0])

    async def visit(self, transport: str) -> None:
        """Open, send some messages, and end in one of the ways."""
        number = next(self.numbers)
        stream = Stream(self.verdict.ledger, number)
        heard = asyncio.Event()

        def hear(opcode: int, payload: bytes) -> None:
            if opcode == BINARY:
                stream.hear(payload)
                heard.set()

        client = Client(hear)
        await self.connect(transport, client)
        client.open_with(f"{self.chance.choice(PATHS)}?c{number}")
        self.verdict.require(await client.opened == 101, f"{transport}: no 101")
        end = self.chance.choice(ENDS)
        for _ in range(self.chance.randrange(1, 12)):
            client.send(stream.next_message())
        while end == "answered" and stream.heard_count < stream.sent_count:
            heard.clear()
            await heard.wait()
        if end in ("answered", "at once"):
            self.due[f"c{number}"] = stream.sent_count
            client.close()
            # Whoever holds a copy of the descriptor, the server's end comes.
            await client.ended
        elif end == "vanish":
            client.transport.close()
        else:
            client.reset()
        # Echoes of what came right before the close may find the connection closed.
        stream.settle(explained=end != "answered")
        self.visit_count += 1

    async def ask(self, transport: str) -> None:
        """Send a request, and compare what was set in its context."""
        number = next(self.numbers)
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        make = lambda: asyncio.StreamReaderProtocol(reader)  # noqa: E731
        if transport == "unix":
            transport, _ = await loop.create_unix_connection(make, self.path)
        elif transport == "tls":
            transport, _ = await loop.create_connection(
                make, "127.0.0.1", self.ports[1], ssl=self.context
            )
        else:
            transport, _ = await loop.create_connection(make, "127.0.0.1", self.ports[0])
        transport.write(
            f"GET /?r{number} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        )
        answer = await reader.read()
        transport.close()
        self.verdict.require(
            answer.endswith(f"r{number}".encode()), f"request {number} was told {answer[-40:]!r}"
        )
        self.request_count += 1


@contextlib.asynccontextmanager
async def started(engine: str) -> AsyncIterator[tuple[Process, str, ssl.SSLContext]]:
    """Start the program; gives it, its Unix socket, and a context that trusts it."""
    authority = trustme.CA()
    with tempfile.TemporaryDirectory() as folder:
        cert, key, path = (str(Path(folder) / name) for name in ("cert", "key", "socket"))
        leaf = authority.issue_cert("127.0.0.1")
        leaf.cert_chain_pems[0].write_to_path(cert)
        leaf.private_key_pem.write_to_path(key)
        context = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
        arguments = ("--engine", engine, "--cert", cert, "--key", key, "--socket", path)
        async with Process.run("programs.py", *arguments) as process:
            yield process, path, context


async def run(engine: str, seed: int, *, seconds: float) -> Verdict:
    """Visit the program for so long, and look at what is left."""
    verdict = Verdict("T22", engine, seed)
    async with started(engine) as (process, path, context):
        ports = (await process.hear())["ports"]
        before = await process.ask(ports[0])
        crowd = Crowd(ports, path, context, verdict, random.Random(seed))
        await crowd.run(seconds)
        grown = await settle(process, ports[0], before)
        process.signal(signal.SIGTERM)
        told = await process.hear(PATIENCE_S)
        exit_code = await process.wait()
    beside = told["beside"]
    unheard = sum(count - told["handled"].get(name, 0) for name, count in crowd.due.items())
    verdict.require(exit_code == 0, f"it ended with {exit_code}")
    verdict.require(not told["faults"], f"{len(told['faults'])} faults: {told['faults'][:3]}")
    verdict.require(not grown, f"left over: {grown}")
    verdict.require(not unheard, f"{unheard} messages before a close were not handled")
    for kind in ("processes", "pool", "children", "calls"):
        verdict.require(beside.get(kind), f"nothing of {kind} went on beside")
    return verdict.close(
        f"{crowd.visit_count} visits, {crowd.request_count} requests; beside them "
        + ", ".join(f"{count} {kind}" for kind, count in sorted(beside.items()))
        + f"; {sum(crowd.due.values())} messages before a close, {unheard} not handled"
    )


async def settle(process: Process, port: int, before: dict[str, Any]) -> dict[str, int]:
    """Wait until no more is there than before; gives what is."""
    end = time.monotonic() + PATIENCE_S
    while True:
        state = await process.ask(port)
        grown = {
            name: state[name] - before[name]
            for name in ("connections", "carriers", "sockets", "Connection")
            if state[name] > before[name]
        }
        if not grown or time.monotonic() > end:
            return grown
        await asyncio.sleep(0.1)
