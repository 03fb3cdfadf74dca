"""Brokers that go, come back with less, or are heard no more."""

import pytest

from faults.short import MARKS, check

pytestmark = MARKS


@pytest.mark.parametrize("broker", ["valkey", "nats"])
async def test_no_host_stays_deaf_and_no_gap_is_silent(engine: str, broker: str) -> None:
    await check({"valkey": "t4", "nats": "t5"}[broker], engine)
