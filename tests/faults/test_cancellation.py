"""Awaits that are cancelled."""

from faults.short import MARKS, check

pytestmark = MARKS


async def test_a_cancelled_await_leaves_nothing_behind(engine: str) -> None:
    await check("t16", engine)
