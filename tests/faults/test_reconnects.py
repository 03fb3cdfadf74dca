"""Clients that come back to a server that is killed."""

from faults.short import MARKS, check

pytestmark = MARKS


async def test_clients_come_back_and_leave_nothing_behind(engine: str) -> None:
    await check("t29", engine)
