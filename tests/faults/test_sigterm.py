"""SIGTERM under load."""

from faults.short import MARKS, check

pytestmark = MARKS


async def test_sigterm_under_load_loses_no_message_that_was_heard(engine: str) -> None:
    await check("t6", engine)
