"""The faults in short, a few seconds each, with one seed; `make faults` is the long run."""

import re
import sys
from pathlib import Path

import pytest

from faults.__main__ import run

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the faults are made for Linux"),
    pytest.mark.slow,
    pytest.mark.timeout(180),  # on a machine that does other things as well
]

SEED = 4
CORE = Path(__file__).parents[2] / "src" / "sockwave" / "core"


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


async def test_a_program_that_forks_and_uses_threads_loses_nothing(engine: str) -> None:
    await check("t22", engine)


def test_no_except_clause_of_the_core_is_left_by_a_jump() -> None:
    """Cython (3.3) drops a reference to NULL there, when an exception has no traceback: for want of
    memory, say. A `with` statement has the same fault."""
    found = []
    for path in sorted(CORE.rglob("*.pyx")):
        inside = -1  # how far the except clause that we are in is indented
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if not line.strip():
                continue
            indent = len(line) - len(line.lstrip())
            if indent <= inside:
                inside = -1
            if re.match(r"\s*except\b.*:", line):
                inside = indent
            jumps = inside >= 0 and re.match(r"\s*(return|continue|break)\b", line)
            if jumps or re.match(r"\s*(async )?with (?!(no)?gil).*:$", line):
                found.append(f"{path.name}:{number}: {line.strip()}")
    assert CORE.is_dir()
    assert not found
