"""A topic with a history while its broker breaks: what became of each message of it.

One host publishes numbers, some of them at a time; a client of the other hears them, with their
positions. After each fault another client comes back to either host with a position of before.
"""

import asyncio
import json
import random
from collections import deque
from typing import Any

import sockwave
from faults.client import TEXT, Client

KEPT = "kept/1"
HISTORY = sockwave.History(count=50_000, size=None, ttl=120)

#: Messages that wait for their places at a time, and how long the next one waits.
WINDOW_COUNT = 8
INTERVAL_S = 0.004


def serve_kept(server: Any) -> None:
    """Have a server know the topic, and subscribe the clients that ask for it."""
    server.topic("kept/*", history=HISTORY, envelope="json")

    @server.on("connection")  # type: ignore[untyped-decorator]
    def connected(conn: sockwave.Connection) -> None:
        @conn.on("message")
        async def message(said: str | bytes) -> None:
            assert isinstance(said, str)
            subscribed = await conn.subscribe(KEPT, since=said.partition(" ")[2] or None)
            await conn.send(f"recovered {subscribed.recovered}")


class Heard:
    """What one client has heard of the topic."""

    def __init__(self) -> None:
        self.epoch = ""
        #: The position and the number of the last message.
        self.position, self.last = "", -1
        self.numbers: set[int] = set()
        self.order: list[int] = []
        self.recovered: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        #: How often the client was told that messages are missing, or that the log is another one.
        self.told = self.duplicated = self.reordered = 0

    def hear(self, opcode: int, payload: bytes) -> None:
        if opcode == TEXT and payload.startswith(b"recovered "):
            self.recovered.set_result(payload == b"recovered True")
        if opcode != TEXT or not payload.startswith(b"{"):
            return  # of the plain topic
        found = json.loads(payload)
        epoch = found["position"].partition("-")[0]
        if "gap" in found or (self.epoch and epoch != self.epoch):
            self.told += 1
        if "message" not in found:
            return
        number = int(found["message"])
        if epoch != self.epoch:
            self.epoch, self.last = epoch, -1  # all of a log that is new comes, perhaps again
        if number <= self.last:
            self.duplicated += number in self.numbers
            self.reordered += number not in self.numbers
        self.last, self.position = number, found["position"]
        self.numbers.add(number)
        self.order.append(number)


class KeptTopic:
    """The account of one topic with a history."""

    def __init__(self, publisher: Any, hearer: Any) -> None:
        self._servers = (publisher, hearer)
        self.heard = Heard()
        self.published = self._asked = self._settled = 0
        #: The numbers of messages that the publisher was told are not published.
        self._refused: set[int] = set()
        #: How often the client was told of another log, or of messages that are missing.
        self.renewed = 0
        self.lost = self.silent = self.told = self.missing = self.unrecovered = self.returned = 0

    async def begin(self) -> None:
        """Have the client hear the topic."""
        self._client = await Client.open(self._servers[1].addresses[0][1], hear=self.heard.hear)
        await self._client.opened
        self._client.send(b"kept", TEXT)
        await self.heard.recovered

    def end(self) -> None:
        """End the client."""
        self._client.reset()

    async def publish(self) -> None:
        """Publish numbers, until that is cancelled."""
        waiting: deque[tuple[int, Any]] = deque()
        while True:
            waiting.append((self._asked, self._servers[0].publish(KEPT, str(self._asked))))
            self._asked += 1
            if len(waiting) >= WINDOW_COUNT:
                number, published = waiting.popleft()
                try:
                    await published
                except sockwave.SockwaveError:
                    self._refused.add(number)
                self.published = number + 1
            await asyncio.sleep(INTERVAL_S)

    async def hear_to(self, count: int, patience_s: float) -> bool:
        """Wait until messages behind the first so many are heard."""
        end = asyncio.get_running_loop().time() + patience_s
        while self.heard.last < count:
            if asyncio.get_running_loop().time() > end:
                return False
            await asyncio.sleep(0.005)
        return True

    def mark(self) -> tuple[int, str, int, int]:
        """Note how it is before a fault."""
        return self.heard.told, self.heard.position, self.heard.last, self.published

    async def settle(
        self, before: tuple[int, str, int, int], patience_s: float, *, may_lose: bool
    ) -> bool:
        """See what became of all messages since `before`; False: the host hears no more."""
        told, position, last, _ = before
        count = self.published
        if not await self.hear_to(count + WINDOW_COUNT, patience_s):
            return False
        missing = {
            number
            for number in range(self._settled, count)
            if number not in self.heard.numbers and number not in self._refused
        }
        self._settled = count
        self.renewed += self.heard.told > told
        if missing and not may_lose:
            self.lost += len(missing)
        elif missing:
            self.missing += len(missing)
            self.told += self.heard.told > told
            self.silent += self.heard.told == told
        return await self._come_back(position, last, count, patience_s, may_lose=may_lose)

    async def _come_back(
        self, position: str, last: int, count: int, patience_s: float, *, may_lose: bool
    ) -> bool:
        """Have a client come to either host with a position of before the fault."""
        again = Heard()
        server = random.choice(self._servers)
        client = await Client.open(server.addresses[0][1], hear=again.hear)
        await client.opened
        client.send(b"kept " + position.encode(), TEXT)
        try:
            is_recovered = await asyncio.wait_for(again.recovered, patience_s)
            end = asyncio.get_running_loop().time() + patience_s
            while again.last < count:
                if asyncio.get_running_loop().time() > end:
                    return False
                await asyncio.sleep(0.005)
        except TimeoutError:
            return False
        finally:
            client.reset()
        self.returned += 1
        expected = [one for one in range(last + 1, count) if one not in self._refused]
        found = [one for one in again.order if one < count]
        if is_recovered:
            self.silent += found != expected
        elif not may_lose:
            self.unrecovered += 1
        self.heard.duplicated += again.duplicated
        self.heard.reordered += again.reordered
        return True
