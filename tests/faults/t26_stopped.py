"""T26: a worker is stopped (SIGSTOP) under load: the other one's clients do not notice.

What counts is how long a client of the other worker waits for its own message to come round by the
sequencer. Calm and stop take turns in one run, and the medians of the rounds' p99 are compared, as
in T11. Continued, the stopped worker brings its clients up to date: they have lost nothing. What
the sequencer holds for it is bounded.
"""

import asyncio
import os
import signal
import statistics
from pathlib import Path

from faults.ledger import Verdict
from faults.members import Crowd
from faults.processes import PAGE_SIZE
from faults.service import Service
from faults.t03_workers import ROOM_SIZE

LONG = {"rounds": 5, "seconds": 8.0, "client_count": 100, "interval_s": 0.2}
# What a machine's other work does to a second's percentile says nothing: the long run judges it.
SHORT = {"rounds": 2, "seconds": 0.5, "client_count": 20, "interval_s": 0.1, "paced": False}
SLOWER_FACTOR = 2.0
#: The sequencer's memory may grow by the histories, and by what it keeps for a slow link.
MEMORY_SIZE = 64 << 20


def measure_resident_size(pid: int) -> int:
    """Give a process's resident memory in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_SIZE


def take_p99_ms(crowd: Crowd, pid: int) -> float:
    """Give the p99 of what the clients of a worker have waited since, in milliseconds."""
    waits: list[float] = []
    for member in crowd.members:
        if member.pid == pid:
            waits += member.latencies
        member.latencies = []
    waits.sort()
    return 1000 * waits[int(len(waits) * 0.99)] if waits else float("nan")


async def run(
    engine: str,
    seed: int,
    *,
    rounds: int,
    seconds: float,
    client_count: int,
    interval_s: float,
    paced: bool = True,
) -> Verdict:
    """Stop one worker of two, and have it go on, again and again."""
    verdict = Verdict("T26", engine, seed)
    calm_ms, stopped_ms = [], []
    async with Service.start(engine) as service:
        crowd = Crowd(service.port, verdict.ledger, client_count, ROOM_SIZE)
        await crowd.come()
        crowd.begin(interval_s)
        stopped, other = service.workers[1], service.workers[2]
        before_size = peak_size = measure_resident_size(service.sequencer)
        for _ in range(rounds):
            take_p99_ms(crowd, other)
            await asyncio.sleep(seconds)
            calm_ms.append(take_p99_ms(crowd, other))
            os.kill(stopped, signal.SIGSTOP)
            try:
                await asyncio.sleep(seconds)
                stopped_ms.append(take_p99_ms(crowd, other))
                peak_size = max(peak_size, measure_resident_size(service.sequencer))
            finally:
                os.kill(stopped, signal.SIGCONT)
            while not all(map(crowd.is_near, crowd.members)):  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.01)
        settled = await crowd.fall_silent()
        await crowd.leave()
        verdict.require(service.workers == {1: stopped, 2: other}, "a worker was lost")
    crowd.settle()
    verdict.require(settled, "what was published is not acknowledged, or not heard by all")
    verdict.require(not crowd.absences, f"{len(crowd.absences)} clients lost their connection")
    verdict.require(not crowd.gap_count, f"{crowd.gap_count} gaps")
    grown = peak_size - before_size
    verdict.require(grown < MEMORY_SIZE, f"the sequencer has grown by {grown >> 10} KB")
    if paced:
        bar_ms = SLOWER_FACTOR * statistics.median(calm_ms)
        found_ms = statistics.median(stopped_ms)
        verdict.require(found_ms < bar_ms, f"p99 {found_ms:.2f} ms, over {bar_ms:.2f}")
    for note in crowd.notes[:5]:
        verdict.require(False, note)
    return verdict.close(
        f"a worker stopped {rounds} times for {seconds:g} s; p99 of the other's clients "
        f"{statistics.median(calm_ms):.1f} ms calm, {statistics.median(stopped_ms):.1f} ms while "
        f"it is stopped (medians of {rounds}); the sequencer grew by {grown >> 10} KB"
    )
