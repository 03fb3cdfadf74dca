"""The faults in short: a few seconds each, with a seed of their own. `make faults` runs them long."""

import sys

import pytest
from faults.__main__ import run

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the faults are made for Linux"),
    pytest.mark.timeout(180),  # on a machine that does other things as well
]

SEED = 4


async def check(fault: str, engine: str) -> None:
    """Run one fault, and show its line where it misses a bar."""
    verdict = await run(fault, engine, SEED, short=True)
    print(verdict)
    assert not verdict.misses, str(verdict)


async def test_a_network_that_delays_slices_and_resets_corrupts_nothing(engine: str) -> None:
    await check("t2", engine)


async def test_sigterm_under_load_loses_no_message_that_was_heard(engine: str) -> None:
    await check("t6", engine)


async def test_a_system_call_that_fails_does_not_stop_the_server(engine: str) -> None:
    await check("t8", engine)


async def test_an_allocation_that_fails_costs_one_connection_at_most(engine: str) -> None:
    await check("t9", engine)


async def test_all_floods_at_once_leave_good_clients_alone(engine: str) -> None:
    await check("t11", engine)


async def test_a_cancelled_await_leaves_nothing_behind(engine: str) -> None:
    await check("t16", engine)


async def test_connections_that_come_and_go_leave_nothing_behind(engine: str) -> None:
    await check("t17", engine)
