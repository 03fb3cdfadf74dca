"""A network that delays, slices, swallows and resets."""

from faults.short import MARKS, check

pytestmark = MARKS


async def test_a_network_that_delays_slices_and_resets_corrupts_nothing(engine: str) -> None:
    await check("t2", engine)
