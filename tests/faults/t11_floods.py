"""T11: all floods at once, while good clients echo.

The good ones are served nearly as fast as before, every attacker is closed, and memory comes back.

A machine of two cores has one for the good clients, so that what these measure is how long the
server takes, not how long they wait for their own core. The attackers are on the server's, and give
way to it: what the kernel does for them there, it has to wait for. In the short run, where nobody
judges how long that is, all are wherever they find room: a machine that has other work too would
let attackers that give way starve.

A percentile of twenty quiet seconds is twice another's on a machine that others use too. So calm
and flood take turns in one run, and the medians of the rounds are compared.
"""

import asyncio
import contextlib
import os
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from faults.client import BINARY, Client
from faults.ledger import Stream, Verdict
from faults.processes import Process, Served, choose_cores, growth

#: In the short run, fewer are enough to see that none is lost.
GOOD_COUNT, FEW_GOOD_COUNT = 100, 25
#: Each good client sends so often.
INTERVAL_S = 0.1
SLOWER_FACTOR = 2.0
MEMORY_FACTOR = 1.05
#: Of CPython's blocks, of which a server has more than a hundred thousand.
BLOCKS_FACTOR = 1.01
#: What all of the server's deadlines come to: 10 s for a handshake, 20 s for a peer that takes
#: nothing, 10 s for its close.
PATIENCE_S = 45.0

FULL: Mapping[str, int] = {
    "slowloris": 5000,
    "reader": 2000,
    "pings": 20,
    "fragments": 20,
    "handshakes": 50,
    "bombs": 10,
    "blocks": 10,
}
SMALL: Mapping[str, int] = {
    "slowloris": 50,
    "reader": 10,
    "pings": 3,
    "fragments": 3,
    "handshakes": 5,
    "bombs": 2,
    "blocks": 2,
}


LONG = {"counts": FULL, "seconds": 20.0, "rounds": 3}
# Deadlines that a test can wait for. What a machine's other work does to a few seconds' percentile
# says nothing: the long run judges it.
SHORT = {
    "counts": SMALL,
    "seconds": 1.0,
    "rounds": 1,
    "patience_s": 30.0,
    "paced": False,
    "options": {"handshake_timeout": 2.0, "write_timeout": 2.0, "close_timeout": 1.0},
}


class Bystander(Protocol):
    """A good client, which goes on until `is_over`, and notes in seconds how long it waits."""

    latencies: list[float]
    is_over: bool

    async def talk(self, port: int, start: float) -> bool:
        """Do what it does; True if the connection stood all the time."""


class Good:
    """A client that echoes at its own pace, and notes how long each echo takes."""

    def __init__(self, verdict: Verdict, sender: int) -> None:
        self.stream = Stream(verdict.ledger, sender)
        self.sent_at: list[float] = []
        self.latencies: list[float] = []
        self.is_over = False

    def hear(self, opcode: int, payload: bytes) -> None:
        """Take an echo."""
        if opcode == BINARY:
            number = self.stream.heard_count
            self.stream.hear(payload)
            self.latencies.append(time.perf_counter() - self.sent_at[number])

    async def talk(self, port: int, start: float) -> bool:
        """Echo until told to end; True if the connection stood all the time."""
        client = await Client.open(port, "/", self.hear)
        await client.opened
        due = time.perf_counter() + start
        while not self.is_over and not client.ended.done():
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            due += INTERVAL_S
            self.sent_at.append(time.perf_counter())
            client.send(self.stream.next_message())
        end = time.monotonic() + 10
        while self.stream.heard_count < self.stream.sent_count and time.monotonic() < end:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        stood = not client.ended.done()
        client.reset()
        self.stream.settle()
        return stood


class Crowd:
    """The good clients, who talk as long as the block lasts: on a core, or wherever they can."""

    def __init__(
        self,
        verdict: Verdict,
        port: int,
        make_good: Callable[[Verdict, int], Bystander],
        *,
        count: int,
        core: int | None = None,
    ) -> None:
        self.port = port
        self.core = core
        self.good = [make_good(verdict, sender) for sender in range(1, count + 1)]
        self.lost_count = 0

    async def __aenter__(self) -> None:
        self.own_cores = os.sched_getaffinity(0)
        if self.core is not None:
            os.sched_setaffinity(0, {self.core})
        self.talking = [
            asyncio.ensure_future(one.talk(self.port, INTERVAL_S * i / len(self.good)))
            for i, one in enumerate(self.good)
        ]

    async def __aexit__(self, *_: object) -> None:
        for one in self.good:
            one.is_over = True
        stood = await asyncio.gather(*self.talking)
        self.lost_count = stood.count(False)
        os.sched_setaffinity(0, self.own_cores)

    def take_percentile(self) -> float:
        """Give the 99th percentile of the latencies since the last look, in ms."""
        latencies = sorted(one for client in self.good for one in client.latencies)
        for client in self.good:
            client.latencies.clear()
        return latencies[int(len(latencies) * 0.99)] * 1000 if latencies else 0.0


def list_ms(percentiles: list[float]) -> str:
    """Write the rounds' percentiles, and their median."""
    rounds = ", ".join(f"{one:.2f}" for one in percentiles)
    return f"{statistics.median(percentiles):.2f} ({rounds})"


async def attack(
    port: int,
    counts: Mapping[str, int],
    seconds: float,
    patience_s: float,
    core: int | None,
    started: asyncio.Event | None = None,
) -> dict[str, int]:
    """Let all kinds of attackers loose, and give what became of them.

    On a core, of which they take what is left there, or wherever they find room.
    """
    total = {"opened": 0, "closed": 0, "failed": 0}
    async with contextlib.AsyncExitStack() as stack:
        crowds = []
        for kind, count in counts.items():
            arguments = ["--port", str(port), "--kind", kind, "--count", str(count)]
            arguments += ["--seconds", str(seconds), "--patience-s", str(patience_s)]
            gives_way = core is not None
            crowd = Process.run("attackers.py", *arguments, core=core, gives_way=gives_way)
            crowds.append(await stack.enter_async_context(crowd))
        if started is not None:
            started.set()
        for crowd in crowds:
            # On a loud machine the attackers wait so long, and report then who was not closed.
            for name, count in (await crowd.hear(seconds + 6 * patience_s)).items():
                total[name] += count
    return total


async def run(
    engine: str,
    seed: int,
    *,
    counts: Mapping[str, int],
    seconds: float,
    rounds: int,
    options: Mapping[str, object] | None = None,
    patience_s: float = PATIENCE_S,
    paced: bool = True,
    fault: str = "T11",
    make_good: Callable[[Verdict, int], Bystander] = Good,
    arguments: Sequence[str] = (),
) -> Verdict:
    """Measure the good clients for so many seconds, before and during each flood.

    `paced` judges what they measure, and gives each process its core for that; it is the long run.
    `arguments` are the server's.
    """
    verdict = Verdict(fault, engine, seed)
    server_core, client_core = choose_cores() if paced else (None, None)
    good_count = GOOD_COUNT if paced else FEW_GOOD_COUNT
    options = {"compression": True, **(options or {})}
    async with Served.start(engine, *arguments, options=options, core=server_core) as served:
        new = await served.settle()
        new_size = served.resident_size
        # A flood of the same length first, with good clients: it makes what is made once, and the
        # heap as large as a flood makes it. What the allocators have given out tells whether
        # anything stays of the attackers; resident memory has the allocators' habits in it, too:
        # CPython's keeps an arena of a mebibyte for one small object.
        async with Crowd(verdict, served.port, make_good, count=good_count):
            await attack(served.port, counts, seconds, patience_s, server_core)
        idle = await served.settle(new)
        idle_size = served.resident_size
        before_ms: list[float] = []
        during_ms: list[float] = []
        cores: list[float] = []
        peak_size = 0
        outcome: Counter[str] = Counter()
        crowd = Crowd(verdict, served.port, make_good, count=good_count, core=client_core)
        async with crowd:
            await asyncio.sleep(1)
            for _ in range(rounds):
                crowd.take_percentile()
                await asyncio.sleep(seconds)
                before_ms.append(crowd.take_percentile())
                started = asyncio.Event()
                flood = asyncio.ensure_future(
                    attack(served.port, counts, seconds, patience_s, server_core, started)
                )
                # To make a process stops this one, and those who wait for an echo in it.
                await started.wait()
                crowd.take_percentile()
                cpu_s = served.cpu_s
                await asyncio.sleep(seconds)
                during_ms.append(crowd.take_percentile())
                cores.append((served.cpu_s - cpu_s) / seconds)
                peak_size = max(peak_size, served.resident_size)
                outcome.update(await flood)
        after = await served.settle(idle)
        grown = growth(idle, after)
        size = served.resident_size
        verdict.require(served.is_alive, f"it died: {served.last_words()}")
    verdict.require(not grown, f"there is more {grown}")
    verdict.require(not crowd.lost_count, f"{crowd.lost_count} good clients were lost")
    for name, factor in (("blocks", BLOCKS_FACTOR), ("malloc", MEMORY_FACTOR)):
        stay = after[name] - idle[name]
        verdict.require(stay < idle[name] * (factor - 1), f"{name}: {stay} stay")
    left = outcome["opened"] - outcome["closed"]
    verdict.require(not left, f"{left} attackers were not closed")
    if paced:
        median_ms = statistics.median(during_ms)
        bar_ms = SLOWER_FACTOR * statistics.median(before_ms)
        verdict.require(median_ms < bar_ms, f"p99 {median_ms:.2f} ms, over {bar_ms:.2f}")
        verdict.require(size < idle_size * MEMORY_FACTOR, f"{size >> 10} KB stay")
    return verdict.close(
        f"good p99 {list_ms(before_ms)} ms before, {list_ms(during_ms)} during; "
        f"{sum(counts.values())} attackers a flood, {outcome['opened']} attacks, "
        f"{outcome['closed']} closed; server CPU {statistics.mean(cores):.0%}; "
        f"{idle['blocks']} blocks and {idle['malloc'] >> 10} KB of malloc's before, "
        f"{after['blocks']} and {after['malloc'] >> 10} after; "
        f"RSS {new_size >> 10} KB at its start, {idle_size >> 10} before, "
        f"{peak_size >> 10} during, {size >> 10} after"
    )
