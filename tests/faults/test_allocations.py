"""Allocations that fail."""

from faults.short import MARKS, check

pytestmark = MARKS


async def test_an_allocation_that_fails_costs_one_connection_at_most(engine: str) -> None:
    await check("t9", engine)
