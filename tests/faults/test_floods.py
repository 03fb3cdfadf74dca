"""All floods at once."""

from faults.short import MARKS, check

pytestmark = MARKS


async def test_all_floods_at_once_leave_good_clients_alone(engine: str) -> None:
    await check("t11", engine)
