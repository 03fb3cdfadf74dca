"""A program that forks and uses threads."""

from faults.short import MARKS, check

pytestmark = MARKS


async def test_a_program_that_forks_and_uses_threads_loses_nothing(engine: str) -> None:
    await check("t22", engine)
