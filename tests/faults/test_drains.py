"""Services that roll, and that end, with workers."""

from faults.short import MARKS, check

pytestmark = MARKS


async def test_nothing_acknowledged_is_lost_when_workers_drain(engine: str) -> None:
    await check("t28", engine)
