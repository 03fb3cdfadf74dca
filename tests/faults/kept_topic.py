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
        #: The position of each message, where it was heard first.
        self.positions: dict[int, str] = {}
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
        self.positions.setdefault(number, self.position)


class KeptTopic:
    """The account of one topic with a history."""

    def __init__(self, publisher: Any, hearer: Any, chance: random.Random) -> None:
        self._servers = (publisher, hearer)
        self._random = chance
        self.heard = Heard()
        self.published = self._asked = self._settled = 0
        #: The numbers of messages that the publisher was told are not published.
        self._refused: set[int] = set()
        #: Where the publisher was told that its messages stand.
        self._positions: dict[int, str] = {}

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
                    self._positions[number] = str((await published).position)
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

    def mark(self) -> tuple[int, str, int, int, int]:
        """Note how it is before a fault."""
        heard = self.heard
        return heard.told, heard.position, heard.last, heard.duplicated, heard.reordered

    async def settle(
        self,
        before: tuple[int, str, int, int, int],
        patience_s: float,
        *,
        may_lose: bool,
        must_tell: bool,
    ) -> dict[str, int]:
        """See what became of all messages since `before`, and return the counts.

        Of `kept_deaf` there is one where the host hears no more.
        """
        told, position, last, duplicated, reordered = before
        count, heard = self.published, self.heard
        if not await self.hear_to(count + WINDOW_COUNT, patience_s):
            return {"kept_deaf": 1}
        settled = range(self._settled, count)
        self._settled = count
        missing = [one for one in settled if one not in heard.numbers and one not in self._refused]
        is_told = heard.told > told
        found = {
            "kept_heard": sum(one in heard.numbers for one in settled),
            "kept_lost": 0 if may_lose else len(missing),
            "kept_missing": len(missing) if may_lose else 0,
            "kept_told": is_told,
            "kept_silent": not is_told and (must_tell or (may_lose and bool(missing))),
            "kept_duplicated": heard.duplicated - duplicated,
            "kept_reordered": heard.reordered - reordered,
            "kept_unexplained": sum(not self._is_explained(one) for one in settled),
        }
        back = await self._come_back(position, last, count, patience_s, may_lose=may_lose)
        return {name: found.get(name, 0) + back.get(name, 0) for name in found | back}

    def _is_explained(self, number: int) -> bool:
        """Tell whether a message that was heard was not refused, and came from where it stands.

        In a log that is another one since, it may stand elsewhere.
        """
        found = self.heard.positions.pop(number, None)
        said = self._positions.pop(number, None)
        if found is None:
            return True
        if said is None:
            return False
        is_same = said.partition("-")[0] == found.partition("-")[0]
        return not is_same or said == found or said.endswith("-0")  # known, and not where

    async def _come_back(
        self, position: str, last: int, count: int, patience_s: float, *, may_lose: bool
    ) -> dict[str, int]:
        """Have a client come to either host with a position of before the fault."""
        again = Heard()
        server = self._random.choice(self._servers)
        client = await Client.open(server.addresses[0][1], hear=again.hear)
        await client.opened
        client.send(b"kept " + position.encode(), TEXT)
        try:
            is_recovered = await asyncio.wait_for(again.recovered, patience_s)
            end = asyncio.get_running_loop().time() + patience_s
            while again.last < count:
                if asyncio.get_running_loop().time() > end:
                    return {"kept_deaf": 1}
                await asyncio.sleep(0.005)
        except TimeoutError:
            return {"kept_deaf": 1}
        finally:
            client.reset()
        expected = [one for one in range(last + 1, count) if one not in self._refused]
        found = [one for one in again.order if one < count]
        return {
            "kept_returned": 1,
            "kept_recovered": is_recovered,
            "kept_unrecovered": not is_recovered and not may_lose,
            "kept_silent": is_recovered and found != expected,
            "kept_duplicated": again.duplicated,
            "kept_reordered": again.reordered,
        }
