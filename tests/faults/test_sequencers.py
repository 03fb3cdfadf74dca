"""A sequencer that is killed, and workers that are stopped."""

from faults.short import MARKS, check

pytestmark = MARKS


async def test_nothing_is_lost_when_the_sequencer_is_killed(engine: str) -> None:
    await check("t25", engine)


async def test_a_stopped_worker_holds_up_no_other(engine: str) -> None:
    await check("t26", engine)


async def test_members_of_a_killed_worker_leave(engine: str) -> None:
    await check("t27", engine)
