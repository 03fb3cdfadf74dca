"""The faults in short, a few seconds each, with one seed; `make faults` is the long run.

Each has a file of its own, so that they can run beside one another.
"""

import sys

import pytest

from faults.__main__ import run

MARKS = [
    pytest.mark.skipif(sys.platform != "linux", reason="the faults are made for Linux"),
    pytest.mark.slow,
    pytest.mark.timeout(180),  # on a machine that does other things as well
]

SEED = 4


async def check(fault: str, engine: str) -> None:
    """Run one fault, and show its line where it misses a bar."""
    verdict = await run(fault, engine, SEED, short=True)
    print(verdict)
    assert not verdict.misses, str(verdict)
