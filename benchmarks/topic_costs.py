"""What topics cost a server, measured in its own process; `topics.py` runs it, prints tables.

Each question compares two ways, which take turns: the CPU time of this process for each delivery,
with what the kernel does for it. Another process, on the other core, has the clients: it reads what
comes, and throws it away. A line of JSON tells the figures of all rounds.
"""

import argparse
import asyncio
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from harness import open_websocket
from memory import read_rss

import sockwave
from sockwave import History

SIZE = 128
"""Bytes of a message to everybody."""
TOKEN = "token"
TOPIC_COUNT = 62
"""Topics that each connection hears where memory is measured."""
BURST_COUNT = 8
ROUND_S = 0.1
"""CPU seconds of one measurement, about."""


def read_all(port: int, count: int, core: int) -> None:
    """Be the clients: connect, and read until the end."""
    os.sched_setaffinity(0, {core})
    poller = select.epoll()
    clients: dict[int, socket.socket] = {}
    for _ in range(count):
        client = open_websocket(port)
        client.setblocking(False)
        clients[client.fileno()] = client
        poller.register(client.fileno(), select.EPOLLIN)
    buffer = bytearray(1 << 16)
    while clients:
        for number, _ in poller.poll():
            if not clients[number].recv_into(buffer):
                del clients[number]


class Costs:
    """The server, its connections, and what is asked of both."""

    def __init__(self, server: sockwave.Server, options: argparse.Namespace) -> None:
        self.server = server
        self.options = options
        self.conns: list[sockwave.Connection] = []
        self.has_all = asyncio.Event()
        server.on("connection", self.connected)

    def connected(self, conn: sockwave.Connection) -> None:
        self.conns.append(conn)
        if len(self.conns) == self.options.connections:
            self.has_all.set()

    async def take(self, act: Callable[[], object], count: int) -> float:
        """Give the CPU seconds of so many acts, each in a turn of the loop with its writes."""
        began = time.process_time()
        for _ in range(count):
            act()
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        used = time.process_time() - began
        while any(conn.backlog_size for conn in self.conns):  # noqa: ASYNC110 - not measured
            await asyncio.sleep(0.01)
        return used

    async def compare(
        self, one: Callable[[], object], other: Callable[[], object], scale: float
    ) -> dict[str, list[float]]:
        """Give the µs of both ways, of all rounds; an act counts as `scale`."""
        count = 1
        while (used := await self.take(one, count)) < ROUND_S / 4:
            count *= 2
        count = max(1, int(count * ROUND_S / used))
        await self.take(other, count)
        found: dict[str, list[float]] = {"one": [], "other": []}
        for _ in range(self.options.rounds):
            found["one"].append(await self.take(one, count) / (count * scale) * 1e6)
            found["other"].append(await self.take(other, count) / (count * scale) * 1e6)
        return found

    # ---- the questions

    async def ask_everybody(self, depth: int) -> dict[str, list[float]]:
        """Compare a topic of everybody with broadcast."""
        for conn in self.conns:
            conn.subscribe("everybody")
        server, text = self.server, "x" * SIZE

        def publish() -> None:
            for _ in range(depth):
                server.publish("everybody", text)

        def broadcast() -> None:
            for _ in range(depth):
                server.broadcast(text)

        found = await self.compare(publish, broadcast, depth * len(self.conns))
        for conn in self.conns:
            conn.unsubscribe("everybody")
        return found

    async def ask_changes(self) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
        """Compare subscribing, and leaving, with sending; there are other topics too."""
        conns = self.conns
        names = [f"room/{number}" for number in range(len(conns))]
        for place, conn in enumerate(conns):
            for number in range(TOPIC_COUNT // 2):
                conn.subscribe(names[(place + number * 37) % len(names)])
        text = "x" * 20

        def send() -> None:
            for conn in conns:
                conn.send(text)

        def both() -> None:
            for conn in conns:
                conn.subscribe("one more")
            for conn in conns:
                conn.unsubscribe("one more")

        found = await self.compare(both, send, len(conns))
        subscribing: list[float] = []
        leaving: list[float] = []
        for _ in range(10 * self.options.rounds):
            began = time.process_time_ns()
            for conn in conns:
                conn.subscribe("one more")
            half = time.process_time_ns()
            for conn in conns:
                conn.unsubscribe("one more")
            leaving.append((time.process_time_ns() - half) / 1e3 / len(conns))
            subscribing.append((half - began) / 1e3 / len(conns))
        for conn in conns:
            for name in conn.topics:
                conn.unsubscribe(name)
        return found, {"one": subscribing, "other": leaving}

    async def ask_tokens(self) -> dict[str, list[float]]:
        """Compare appending a token to a stream with one subscriber with sending the same bytes."""
        topics = [self.server.topic(f"answer/{number}") for number in range(len(self.conns))]
        for conn, topic in zip(self.conns, topics, strict=True):
            await conn.subscribe(topic.name)
            await topic.append(TOKEN)
        conns, frame = self.conns, f'[1000,"{TOKEN}"]'

        def append() -> None:
            for topic in topics:
                topic.append(TOKEN)

        def send() -> None:
            for conn in conns:
                conn.send(frame)

        return await self.compare(append, send, len(conns))

    async def ask_history(self) -> dict[str, list[float]]:
        """Compare publishing on a topic with a history with one without, for one subscriber."""
        plain, kept = [], []
        for number, conn in enumerate(self.conns):
            plain.append(f"plain/{number}")
            kept.append(f"kept/{number}")
            conn.subscribe(plain[-1])
            await conn.subscribe(kept[-1])
        server, text = self.server, "x" * SIZE

        def publish_kept() -> None:
            for name in kept:
                server.publish(name, text)

        def publish_plain() -> None:
            for name in plain:
                server.publish(name, text)

        return await self.compare(publish_kept, publish_plain, len(self.conns))

    def ask_memory(self) -> float:
        """Give the bytes of a subscription, where each topic has as many subscribers as each
        connection has topics."""
        for conn in self.conns:
            for name in conn.topics:
                conn.unsubscribe(name)
        before = read_rss(os.getpid())
        count = len(self.conns)
        for place, conn in enumerate(self.conns):
            for number in range(TOPIC_COUNT):
                conn.subscribe(f"many/{(place + number * 137) % count}")
        return (read_rss(os.getpid()) - before) / (count * TOPIC_COUNT)


async def main(options: argparse.Namespace) -> None:
    """Ask all questions, and tell what came out."""
    server = sockwave.create_server(
        engine="epoll", ping_interval=None, append_size=1 << 30, max_backlog=1 << 28
    )
    server.topic("answer/*", envelope="compact")
    server.topic("kept/*", history=History(), envelope=None)
    costs = Costs(server, options)
    server.listen(0, "127.0.0.1")
    async with server:
        command = [sys.executable, __file__, "--connections", str(options.connections)]
        command += ["--client-core", str(options.client_core), "--port"]
        reader = subprocess.Popen([*command, str(server.addresses[0][1])])  # noqa: ASYNC220
        try:
            await costs.has_all.wait()
            told: dict[str, Any] = {}
            if options.memory:
                told["memory"] = costs.ask_memory()
            else:
                told["everybody"] = await costs.ask_everybody(1)
                told["everybody, bursts"] = await costs.ask_everybody(BURST_COUNT)
                told["changes"], told["halves"] = await costs.ask_changes()
                told["history"] = await costs.ask_history()
                told["tokens"] = await costs.ask_tokens()
            sys.stdout.write(json.dumps(told) + "\n")
            sys.stdout.flush()
        finally:
            reader.kill()
            reader.wait()
            server.close(drain=0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--client-core", type=int, required=True)
    parser.add_argument("--memory", action="store_true", help="that of subscriptions alone")
    parser.add_argument("--port", type=int, help="be the clients of the server there")
    options = parser.parse_args()
    if options.port is None:
        asyncio.run(main(options))
    else:
        read_all(options.port, options.connections, options.client_core)
