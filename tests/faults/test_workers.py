"""Workers that are killed."""

from faults.short import MARKS, check

pytestmark = MARKS


async def test_no_line_is_lost_when_workers_are_killed(engine: str) -> None:
    await check("t3", engine)
