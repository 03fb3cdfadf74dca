"""T25: the sequencer is killed under load: its log outlives it, and nobody misses anything.

The log is in a memory file that the supervisor holds. A kill is over when each client has heard
what was published behind it.
"""

import asyncio
import time

from faults.ledger import Verdict
from faults.members import Crowd
from faults.service import Service, list_ms
from faults.t03_workers import ROOM_SIZE

LONG = {"kill_count": 50, "client_count": 100, "interval_s": 1.0}
SHORT = {"kill_count": 3, "client_count": 20, "interval_s": 0.5}
PATIENCE_S = 20.0


async def run(
    engine: str, seed: int, *, kill_count: int, client_count: int, interval_s: float
) -> Verdict:
    """Kill the sequencer again and again."""
    verdict = Verdict("T25", engine, seed)
    waits_s: list[float] = []
    async with Service.start(engine) as service:
        crowd = Crowd(service.port, verdict.ledger, client_count, ROOM_SIZE)
        await crowd.come()
        crowd.begin(interval_s)
        for number in range(kill_count):
            # Something has to be there to be lost, in each room: where nothing is kept is no log.
            before = crowd.ledger.published
            while crowd.ledger.published < before + client_count / 2 or not all(  # noqa: ASYNC110
                member.offset for member in crowd.members
            ):
                await asyncio.sleep(0.01)
            places = [(member.epoch, member.offset) for member in crowd.members]
            began = time.perf_counter()
            service.kill_sequencer()
            end = time.monotonic() + PATIENCE_S
            late = crowd.members
            while late and time.monotonic() < end:
                await asyncio.sleep(0.005)
                late = [
                    member
                    for member, place in zip(crowd.members, places, strict=True)
                    if (member.epoch, member.offset) == place
                ]
            verdict.require(not late, f"kill {number + 1}: {len(late)} clients hear nothing more")
            waits_s.append(time.perf_counter() - began)
            await service.wait_until(
                lambda count=number + 2: service.sequencer_count == count, "another sequencer"
            )
        settled = await crowd.fall_silent()
        await crowd.leave()
    crowd.settle()
    verdict.require(settled, "what was published is not acknowledged, or not heard by all")
    verdict.require(not crowd.gap_count, f"{crowd.gap_count} gaps were told")
    verdict.require(not crowd.silent_count, f"{crowd.silent_count} gaps in silence")
    for note in crowd.notes[:5]:
        verdict.require(False, note)
    return verdict.close(
        f"sequencer killed {kill_count} times, {client_count} clients: gaps told "
        f"{crowd.gap_count}, silent {crowd.silent_count}, all heard again after "
        f"{list_ms(waits_s, 0.5, 0.99)} ms (p50 / p99); {crowd.repeated_count} came once more"
    )
