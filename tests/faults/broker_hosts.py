"""Two hosts that share a broker, which breaks: what the client of one hears of the other.

Both are servers of this process; each has a road of its own to the broker. One publishes numbers,
all the time; a client of the other hears them. After each fault it has to hear again, and what it
has missed has to have been told by then: as a connection that was lost, or as a message of which
the publisher does not know what became.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import sockwave
from faults.broker_tally import BrokerTally
from faults.client import TEXT, Client
from faults.kept_topic import KeptTopic, serve_kept
from faults.ledger import Verdict
from faults.road import Road

TOPIC = "room/1"
INTERVAL_S = 0.002

#: Of what is more than a broker holds for a subscriber that does not read.
FLOOD_SIZE = 100_000

#: A host that has not heard again by then is deaf: on a machine that does much else, all is slow.
PATIENCE_S = 60.0

#: After so many faults, what they have shown by then is printed.
LINES_COUNT = 50


class Hosts:
    """Both hosts, and the account of one topic between them."""

    def __init__(self, engine: str, seed: int, url: str, port: int) -> None:
        """Note what there is. What is drawn, as which host is hit, is drawn from the seed."""
        self._engine, self._url, self._port = engine, url, port
        self.random = random.Random(seed)
        self.published = 0
        #: The number that is expected next.
        self.next = 0
        self.missing = self.duplicated = self.unexplained = self.heard = 0
        self.tally = BrokerTally()

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator["Hosts"]:
        """Start both, with a client of the second that hears the topic."""
        # They say what they bear, and here that is nothing but the figures.
        logger = logging.getLogger("sockwave")
        level = logger.level
        logger.setLevel(logging.ERROR)
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(logger.setLevel, level)
            self.roads: list[Road] = []
            self.servers: list[sockwave.Server] = []
            for _ in range(2):
                road = Road(self._port)
                port = await road.begin()
                stack.push_async_callback(road.close)
                self.roads.append(road)
                server: Any = sockwave.create_server(
                    engine=self._engine,
                    broker=self._url.replace(str(self._port), str(port)),
                    max_backlog=None,
                )
                server.on("connection", subscribe)
                serve_kept(server)
                server.listen(0, "127.0.0.1")
                await stack.enter_async_context(server)
                self.servers.append(server)
            self.publisher, self.hearer = self.servers
            client = await Client.open(self.hearer.addresses[0][1], hear=self._hear)
            await client.opened
            stack.callback(client.reset)
            await self._wait_well()
            self.kept = KeptTopic(self.publisher, self.hearer, self.random)
            await self.kept.begin()
            stack.callback(self.kept.end)
            publishing = [
                asyncio.ensure_future(one) for one in (self._publish(), self.kept.publish())
            ]
            try:
                await self._hear_new()
                yield self
            finally:
                for one in publishing:
                    one.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await one  # raises what publishing has raised

    async def _publish(self) -> None:
        while True:
            await self.publisher.publish(TOPIC, str(self.published))
            self.published += 1
            await asyncio.sleep(INTERVAL_S)

    def _hear(self, opcode: int, payload: bytes) -> None:
        if opcode != TEXT or not payload.isdigit():
            return  # of a flood
        number = int(payload)
        if number < self.next:
            self.duplicated += 1
            return
        if number > self.published:  # that one is on its way; those behind it are nobody's
            self.unexplained += 1
            return
        self.heard += 1
        self.missing += number - self.next
        self.next = number + 1

    def count_told(self) -> int:
        """Count what the hosts have said that they have lost."""
        health, other = (server.health() for server in self.servers)
        return health.unknown_count + health.dropped_count + health.lost_count + other.lost_count

    async def _wait_well(self) -> bool:
        end = time.monotonic() + PATIENCE_S
        while any(server.health().status != "ok" for server in self.servers):
            if time.monotonic() > end:
                return False
            await asyncio.sleep(0.01)
        return True

    async def _hear_new(self) -> bool:
        """Wait until something is heard that is published from now on."""
        first, end = self.published, time.monotonic() + PATIENCE_S
        while self.next <= first:
            if time.monotonic() > end:
                return False
            await asyncio.sleep(0.005)
        return True

    def count_lost(self) -> int:
        """Count the connections to the broker that both have lost."""
        return sum(server.health().lost_count for server in self.servers)

    async def bear(self, faults: "BrokerFaults", kind: str) -> None:
        """Let something happen, and see whether all comes back, and what was missed is told.

        A fault that breaks a connection has to: else it has proven nothing. Of a topic with a
        history nothing is missed, unless the broker may have less of it than before; where it has,
        that is told, whether anything of it was missed or not.
        """
        await self.kept.hear_to(self.kept.published, PATIENCE_S)
        tally, before = self.tally, self.kept.mark()
        missing, told, lost = self.missing, self.count_told(), self.count_lost()
        duplicated, unexplained, heard = self.duplicated, self.unexplained, self.heard
        await faults.kinds()[kind]()
        began = time.monotonic()
        is_heard = await self._hear_new() and await self._wait_well() and await self._hear_new()
        tally.note_back(time.monotonic() - began)
        shown: dict[str, int] = {}
        if is_heard:
            shown = await self.kept.settle(
                before,
                PATIENCE_S,
                may_lose=kind in faults.losing,
                must_tell=kind in faults.emptying,
            )
            tally.add(kind, **shown)
            is_heard = not shown.get("kept_deaf")
        if not is_heard:
            self._print_deaf(kind)
        is_idle = kind != faults.harmless and self.count_lost() == lost
        is_told = self.count_told() > told
        tally.add(
            kind,
            faults=1,
            deaf=not is_heard and not shown.get("kept_deaf"),
            idle=is_idle,
            heard=self.heard - heard,
            missing=self.missing - missing,
            told=self.missing > missing and is_told,
            silent=self.missing > missing and not is_told,
            duplicated=self.duplicated - duplicated,
            unexplained=self.unexplained - unexplained,
        )

    def _print_deaf(self, kind: str) -> None:
        """Say how it is where something is not heard."""
        print(
            f"DEAF after {kind}: {[server.health() for server in self.servers]}, plain heard "
            f"{self.next} of {self.published}, history {self.kept.heard.last} of "
            f"{self.kept.published}",
            flush=True,
        )

    async def bear_all(
        self, verdict: Verdict, faults: "BrokerFaults", trials: int, only: str | None
    ) -> Verdict:
        """Let one thing break after the other, or the same again and again; give the verdict.

        Lines for all kinds of faults are printed on the way.
        """
        chosen = list(faults.kinds()) if only is None else [only]
        names = (chosen * (trials // len(chosen) + 1))[:trials]
        self.random.shuffle(names)
        for number, name in enumerate(names, 1):
            await self.bear(faults, name)
            if not number % LINES_COUNT or number == len(names):
                self.tally.print_lines(f"{verdict.fault} {verdict.engine} {number}/{len(names)}")
        verdict.ledger.published = self.published + self.kept.published
        return self.tally.close(verdict)


class BrokerFaults:
    """What can happen to a broker, of whatever kind, and on the way to it."""

    #: The name of the one that ends no connection.
    harmless: str
    #: The names of those after which the broker may have less than before.
    losing: frozenset[str] = frozenset()
    #: Those of them after which it has nothing.
    emptying: frozenset[str] = frozenset()
    #: How many messages a flood has at most.
    flood_count = 160

    def __init__(self, hosts: Hosts, server: Any) -> None:
        self.hosts = hosts
        self.server = server

    def kinds(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """Give the faults by their names."""
        return {
            "restarts": self.restart,
            "overruns": self.overrun,
            "half-open": self.half_open,
            "failovers": self.fail_over,
        }

    def kill(self) -> None:
        """End the server that there is now."""
        self.server.kill()

    async def restart(self) -> None:
        self.server.kill()
        await asyncio.sleep(0.05)
        await asyncio.to_thread(self.server.start)

    async def half_open(self) -> None:
        self.hosts.random.choice(self.hosts.roads).fall_silent()

    async def overrun(self) -> None:
        """Publish more than a host reads, which stands still meanwhile."""
        road = self.hosts.roads[1]
        road.stop_back()
        lost = self.hosts.hearer.health().lost_count
        subscribed = await asyncio.to_thread(self.count_subscribed)
        for _ in range(self.flood_count):
            await asyncio.to_thread(self.publish, b"1b\n" + bytes(FLOOD_SIZE))
            if self.hosts.hearer.health().lost_count > lost:
                break
            if await asyncio.to_thread(self.count_subscribed) < subscribed:
                break
        road.go_on()

    def count_subscribed(self) -> int:
        """Count the hosts that are subscribed to the topic, where the broker tells that."""
        return 0

    def publish(self, message: bytes) -> None:
        """Publish on the topic, as another program does."""
        raise NotImplementedError

    async def fail_over(self) -> None:
        """Have another server take the place of the server, which is gone."""
        raise NotImplementedError

    def lead_to(self, server: Any) -> None:
        """Lead both hosts to another server from now on."""
        self.server = server
        for road in self.hosts.roads:
            road.target = server.port


def subscribe(conn: sockwave.Connection) -> None:
    """Have a client hear the topic."""
    conn.subscribe(TOPIC)
