"""HTTP under load, for an ASGI application."""

import pytest

from faults.short import MARKS, check

pytestmark = MARKS


@pytest.mark.timeout(300)  # on a loud machine
async def test_floods_of_requests_to_an_asgi_application_leave_good_clients_alone(
    engine: str,
) -> None:
    await check("t24", engine)
