"""T27: a worker is killed: how soon `members()` no longer has those whom it had.

Another worker's client asks, again and again, until the members of the killed one are not there.
"""

import asyncio
import contextlib
import json
import time
from typing import Any

from faults.client import TEXT, Client
from faults.ledger import Verdict
from faults.members import SUBPROTOCOL
from faults.service import Service, list_ms

LONG = {"kill_count": 100}
SHORT = {"kill_count": 3}
TOPIC = "people/workers"
BAR_MS = 50.0
#: Of one service, as its supervisor waits twice as long each time for a place that dies young.
KILL_COUNT = 10


class Asking:
    """A client that is a member, by its worker, and asks who else is."""

    def __init__(self) -> None:
        self.said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def hear(self, opcode: int, payload: bytes) -> None:
        """Take what it is told, but the differences."""
        if opcode == TEXT:
            said = json.loads(payload)
            if "join" not in said:
                self.said.put_nowait(said)

    async def enter(self, port: int) -> int:
        """Connect and subscribe; give the process that serves it."""
        self.client = await Client.open(port, "/", self.hear, more=SUBPROTOCOL)
        await self.client.opened
        pid = (await self.ask("pid", send="who serves?"))["pid"]
        await self.ask("members", subscribe=TOPIC)
        return int(pid)

    async def ask(self, answer: str, **fields: Any) -> dict[str, Any]:
        """Say something, and give the answer."""
        self.client.send(json.dumps(fields).encode(), TEXT)
        async with asyncio.timeout(20):
            while answer not in (said := await self.said.get()):
                pass
        return said

    async def members(self) -> set[str]:
        """Ask who is there."""
        return set((await self.ask("request", members=TOPIC, request=1))["members"])


@contextlib.asynccontextmanager
async def one_of_each(service: Service) -> Any:
    """Connect a client to each worker."""
    found: dict[int, Asking] = {}
    spare = []
    while found.keys() < set(service.workers.values()):
        one = Asking()
        pid = await one.enter(service.port)
        if found.setdefault(pid, one) is not one:
            spare.append(one)
    for one in spare:
        one.client.reset()
    try:
        yield found
    finally:
        for one in found.values():
            one.client.reset()


async def kill_one(service: Service, place: int, verdict: Verdict) -> float:
    """Kill a worker; give the seconds until another one no longer has its members."""
    async with one_of_each(service) as clients:
        asking = clients[service.workers[3 - place]]
        gone = f"pid-{service.workers[place]}"
        while gone not in await asking.members():
            pass
        began = time.perf_counter()
        service.kill_worker(place)
        end = time.monotonic() + 20
        while gone in (there := await asking.members()) and time.monotonic() < end:
            pass
        wait_s = time.perf_counter() - began
        verdict.require(gone not in there, f"{gone} stays")
    await service.wait_until(lambda: len(service.workers) == 2, "another worker")
    return wait_s


async def run(engine: str, seed: int, *, kill_count: int) -> Verdict:
    """Kill workers, and ask."""
    verdict = Verdict("T27", engine, seed)
    waits_s: list[float] = []
    for first in range(0, kill_count, KILL_COUNT):
        async with Service.start(engine) as service:
            waits_s += [
                await kill_one(service, 1 + number % 2, verdict)
                for number in range(first, min(first + KILL_COUNT, kill_count))
            ]
    if kill_count >= 100:
        median_ms = 1000 * sorted(waits_s)[len(waits_s) // 2]
        verdict.require(median_ms <= BAR_MS, f"the median is {median_ms:.1f} ms")
    return verdict.close(
        f"{kill_count} workers killed: members() is right after {list_ms(waits_s, 0.5, 0.99)} ms "
        "(p50 / p99)"
    )
