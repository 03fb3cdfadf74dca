"""T28: T6 with workers: SIGHUP and SIGTERM under load, and nothing that was acknowledged is lost.

With SIGHUP, new workers take the places of the old ones, whose clients are told 1001, and come back
with their positions: each hears all of its room, once. With SIGTERM, the service ends: everybody
hears what had been acknowledged before, and is told 1001.
"""

import asyncio
import signal

from faults.ledger import Verdict
from faults.members import Crowd
from faults.service import Service, list_ms
from faults.t03_workers import ROOM_SIZE

LONG = {"roll_count": 25, "end_count": 25, "client_count": 200, "interval_s": 1.0}
SHORT = {"roll_count": 2, "end_count": 1, "client_count": 40, "interval_s": 0.5}


async def roll(
    engine: str, verdict: Verdict, roll_count: int, client_count: int, interval_s: float
) -> str:
    """Replace all workers again and again."""
    async with Service.start(engine) as service:
        crowd = Crowd(service.port, verdict.ledger, client_count, ROOM_SIZE)
        await crowd.come()
        crowd.begin(interval_s)
        for number in range(roll_count):
            service.signal(signal.SIGHUP)
            await service.wait_for_line("all workers have been replaced", number + 1)
            # Those that drain, two each time, have no clients left.
            await service.wait_for_line(r"worker \d+ \(pid \d+\) has ended", 2 * (number + 1))
        settled = await crowd.fall_silent()
        await crowd.leave()
    crowd.settle()
    codes = [code for member in crowd.members for code in member.codes[: 2 * roll_count]]
    verdict.require(settled, "what was published is not acknowledged, or not heard by all")
    verdict.require(not crowd.unrecovered_count, f"{crowd.unrecovered_count} were not recovered")
    verdict.require(not crowd.gap_count, f"{crowd.gap_count} gaps")
    gone = [code for code in codes if code != 1001]
    verdict.require(len(gone) <= client_count, f"{len(gone)} did not see 1001")
    for note in crowd.notes[:5]:
        verdict.require(False, note)
    return (
        f"{roll_count} SIGHUP, {client_count} clients, {len(crowd.absences)} times back after "
        f"{list_ms(crowd.absences, 0.5, 0.99)} ms (p50 / p99)"
    )


async def end(engine: str, verdict: Verdict, client_count: int, interval_s: float) -> int | None:
    """Tell a service to end, and give its exit code."""
    async with Service.start(engine) as service:
        crowd = Crowd(service.port, verdict.ledger, client_count, ROOM_SIZE)
        await crowd.come()
        crowd.begin(interval_s)
        while len(crowd.list_acknowledged()) < client_count:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.01)
        crowd.comes_back = False
        due = crowd.list_acknowledged()
        service.signal(signal.SIGTERM)
        code = await service.wait()
        await crowd.fall_silent(0)
        await crowd.leave()
    crowd.settle(due)
    heard = {mark for member in crowd.members for mark in member.heard}
    unheard = crowd.list_acknowledged() - heard
    verdict.require(not unheard, f"acknowledged and heard by nobody: {sorted(unheard)[:3]}")
    codes = [member.codes[-1] if member.codes else 0 for member in crowd.members]
    others = [code for code in codes if code != 1001]
    verdict.require(not others, f"{len(others)} did not see 1001: {set(others)}")
    for note in crowd.notes[:5]:
        verdict.require(False, note)
    return code


async def run(
    engine: str,
    seed: int,
    *,
    roll_count: int,
    end_count: int,
    client_count: int,
    interval_s: float,
) -> Verdict:
    """Roll a service, and end others."""
    verdict = Verdict("T28", engine, seed)
    rolled = await roll(engine, verdict, roll_count, client_count, interval_s)
    codes = {await end(engine, verdict, client_count, interval_s) for _ in range(end_count)}
    verdict.require(codes == {0}, f"exit codes {codes}")
    return verdict.close(f"{rolled}; {end_count} SIGTERM, exit codes {codes}")
