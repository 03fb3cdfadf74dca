"""All floods at once."""

from faults.processes import COUNTED, growth
from faults.short import MARKS, check

pytestmark = MARKS


async def test_all_floods_at_once_leave_good_clients_alone(engine: str) -> None:
    await check("t11", engine)


def test_what_stays_is_told_whatever_was_being_woken_before() -> None:
    calm = dict.fromkeys([*COUNTED, "stranded"], 0) | {"kinds": {}}
    assert growth(calm | {"stranded": 1}, calm) == {}
    assert growth(calm, calm | {"tasks": 2, "stranded": 1}) == {"tasks": 1}
    assert growth(calm, calm | {"kinds": {"Connection": 1}}) == {"Connection": 1}
