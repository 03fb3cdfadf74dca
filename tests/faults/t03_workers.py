"""T3: a worker is killed every two seconds under load, and no client loses a line.

Two workers, a sequencer, clients that speak `sockwave.1`: a few in each room, each of which
publishes with ids, resends what is unacknowledged, and comes back with its position. Published is
what was acknowledged. Each client has to hear all that its room has, once, in the one order.
"""

import asyncio
import random

from faults.ledger import Verdict
from faults.members import Crowd
from faults.service import Service, list_ms

LONG = {"kill_count": 100, "client_count": 500, "interval_s": 2.0}
SHORT = {"kill_count": 3, "client_count": 40, "interval_s": 0.5, "pause_s": 0.5}
ROOM_SIZE = 10


async def run(
    engine: str,
    seed: int,
    *,
    kill_count: int,
    client_count: int,
    interval_s: float,
    pause_s: float = 2.0,
) -> Verdict:
    """Kill workers, one at a time: the other one serves."""
    verdict = Verdict("T3", engine, seed)
    chance = random.Random(seed)
    async with Service.start(engine) as service:
        crowd = Crowd(service.port, verdict.ledger, client_count, ROOM_SIZE)
        await crowd.come()
        crowd.begin(interval_s)
        await asyncio.sleep(pause_s / 2)
        loop = asyncio.get_running_loop()
        for _ in range(kill_count):
            due = loop.time() + pause_s
            service.kill_worker(chance.choice([*service.workers]))
            await service.wait_until(lambda: len(service.workers) == 2, "another worker")
            await asyncio.sleep(max(due - loop.time(), 0.0))
        settled = await crowd.fall_silent()
        await crowd.leave()
        verdict.require(service.sequencer_count == 1, "the sequencer died")
    crowd.settle()
    verdict.require(settled, "what was published is not acknowledged, or not heard by all")
    verdict.require(not crowd.unrecovered_count, f"{crowd.unrecovered_count} were not recovered")
    verdict.require(not crowd.gap_count, f"{crowd.gap_count} gaps")
    for note in crowd.notes[:5]:
        verdict.require(False, note)
    return verdict.close(
        f"{kill_count} workers killed, {client_count} clients, {len(crowd.absences)} times back "
        f"after {list_ms(crowd.absences, 0.5, 0.99)} ms (p50 / p99); "
        f"{crowd.refused_count} publishes refused and said again"
    )
