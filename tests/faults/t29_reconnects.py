"""T29: clients that reconnect, through 1,000 kills of their server; nothing is left behind.

One client echoes and has the server killed, another one hears a topic and publishes on it. Both
come back each time; an echo comes back unless the server dies first. What there is of tasks,
timers, descriptors and connections is the same in the end as after the first few kills.
"""

import asyncio
import collections
import contextlib
import gc
import os
import signal
import time
from typing import Any

from commands import find_port

import sockwave
from faults.ledger import Ledger, Stream, Verdict
from faults.processes import Process
from faults.service import list_ms

LONG = {"kill_count": 1000}
SHORT = {"kill_count": 25}

#: What the first connections make once is there by then.
WARM_COUNT = 5
ECHO_COUNT = 3
PATIENCE_S = 30.0
SETTLE_S = 8.0
BACKOFF = sockwave.Backoff(first=0.001, most=0.02)

#: Objects of which each connection has some.
KINDS = frozenset(
    {
        "ClientConnection",
        "ClientHost",
        "EpollSocket",
        "Opening",
        "TopicConnection",
        "TransportProtocol",
    }
)


class Clients:
    """The clients of one server that is killed again and again."""

    def __init__(self, engine: str, port: int, ledger: Ledger) -> None:
        self.options: dict[str, Any] = {"engine": engine, "backoff": BACKOFF}
        self.uri = f"ws://127.0.0.1:{port}/"
        self.ledger = ledger
        self.kill_count = 0
        #: For each kill, how long it took until a connection was open again, in seconds.
        self.absences: list[float] = []
        self.topic_count = 0
        self.acknowledged_count = 0

    async def run(self, kill_count: int) -> None:
        """Live through so many kills."""
        listening = asyncio.create_task(self.listen())
        await self.echo(self.kill_count + kill_count)
        listening.cancel()
        await asyncio.wait([listening])

    async def echo(self, end: int) -> None:
        """Echo, and have the server killed, until that has happened so often."""
        lost_at: float | None = None
        async for conn in sockwave.connect(self.uri, **self.options):
            if lost_at is not None:
                self.absences.append(time.monotonic() - lost_at)
            if self.kill_count == end:
                return
            stream = Stream(self.ledger, conn.id)
            with contextlib.suppress(sockwave.ConnectionClosed):
                for _ in range(ECHO_COUNT):
                    conn.send(stream.next_message())
                for _ in range(ECHO_COUNT):
                    message = await conn.receive(PATIENCE_S)
                    assert isinstance(message, bytes)
                    stream.hear(message)
                conn.send("die")
                async for _message in conn:  # part of a large one may come
                    pass
            stream.settle(explained=True)
            await conn.wait_closed()
            lost_at = time.monotonic()
            self.kill_count += 1

    async def listen(self) -> None:
        """Hear a topic, whose history dies with its server, and publish on it."""
        async for conn in sockwave.connect(self.uri, subprotocol="sockwave.1", **self.options):
            self.topic_count += 1
            with contextlib.suppress(sockwave.ConnectionClosed):
                conn.subscribe("lines", since="0-0")
                await conn.publish("lines", f"line {self.topic_count}")
                self.acknowledged_count += 1
                async for _delivery in conn.deliveries():
                    pass


def measure() -> dict[str, int]:
    """Count what clients may leave behind."""
    gc.collect()
    loop = asyncio.get_running_loop()
    kinds = collections.Counter(type(one).__name__ for one in gc.get_objects())
    timers = [one for one in loop._scheduled if not one.cancelled()]  # type: ignore[attr-defined]
    return {
        "tasks": len(asyncio.all_tasks()),
        "timers": len(timers),
        "descriptors": len(os.listdir("/proc/self/fd")),
    } | {kind: kinds[kind] for kind in KINDS}


def find_growth(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """Give what there is more of than before."""
    return {name: after[name] - before[name] for name in before if after[name] > before[name]}


async def settle(before: dict[str, int]) -> dict[str, int]:
    """Measure until there is no more than before, or for a few seconds."""
    end = time.monotonic() + SETTLE_S
    while find_growth(before, measure()) and time.monotonic() < end:  # noqa: ASYNC110 - no event
        await asyncio.sleep(0.1)
    return measure()


async def run(engine: str, seed: int, *, kill_count: int) -> Verdict:
    """Kill a server so many times."""
    verdict = Verdict("T29", engine, seed)
    arguments = ("--engine", engine, "--seed", str(seed), "--port", str(find_port()))
    async with Process.run("mortal.py", *arguments) as mortal:
        clients = Clients(engine, (await mortal.hear())["port"], verdict.ledger)
        deaths = asyncio.create_task(count_deaths(mortal))
        await clients.run(WARM_COUNT)
        await asyncio.sleep(0.2)  # the last connections of the first few end
        before = measure()
        began = time.monotonic()
        await clients.run(kill_count)
        seconds = time.monotonic() - began
        after = await settle(before)
        mortal.signal(signal.SIGTERM)
        await mortal.wait()
        death_count = await deaths
    grown = find_growth(before, after)
    total = clients.kill_count
    verdict.require(total == WARM_COUNT + kill_count, f"only {total} kills")
    verdict.require(death_count >= total, f"only {death_count} servers have died")
    verdict.require(len(clients.absences) >= kill_count, "a client has not come back")
    verdict.require(clients.topic_count > kill_count // 2, "the client with a topic has not")
    verdict.require(not grown, f"there is more {grown}")
    return verdict.close(
        f"{total} kills seen of {death_count} servers killed, {kill_count / seconds:.0f}/s, back "
        f"after {list_ms(clients.absences, 0.5, 0.99, 1.0)} ms (p50 / p99 / longest), "
        f"{clients.topic_count} connections with a topic, {clients.acknowledged_count} lines "
        f"acknowledged, left over: {grown or 'nothing'} (of "
        f"{', '.join(f'{name} {after[name]}' for name in ('tasks', 'timers', 'descriptors'))})"
    )


async def count_deaths(mortal: Process) -> int:
    """Count the servers that have been killed, until the program ends."""
    count = 0
    with contextlib.suppress(RuntimeError, ValueError):  # it has ended
        while True:
            await mortal.hear(PATIENCE_S)
            count += 1
    return count
