"""HTTP under load."""

from faults.short import MARKS, check

pytestmark = MARKS


async def test_floods_of_requests_leave_good_clients_alone(engine: str) -> None:
    await check("t23", engine)
