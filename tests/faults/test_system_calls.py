"""System calls that fail."""

from faults.short import MARKS, check

pytestmark = MARKS


async def test_a_system_call_that_fails_does_not_stop_the_server(engine: str) -> None:
    await check("t8", engine)
