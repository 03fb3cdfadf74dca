"""Connections that come and go."""

from faults.short import MARKS, check

pytestmark = MARKS


async def test_connections_that_come_and_go_leave_nothing_behind(engine: str) -> None:
    await check("t17", engine)
