"""What an attack costs the server: CPU time, and how it grows."""

import statistics
from collections.abc import Awaitable, Callable

from attacks.process import Victim

# Runs of each size, in turn, so that what else the machine does falls on both.
RUNS = 5

# Between the sizes that are compared: what is quadratic costs 16 times as much, what is linear 4
# times, and the bound lies between them.
FACTOR = 4
BOUND = 8.0

# Less than this is not told from what the bystanders do meanwhile.
GRAIN_S = 500e-6


async def spend(victim: Victim, action: Awaitable[object]) -> float:
    """Give the CPU time, in seconds, that the server uses until `action` is done."""
    before = victim.cpu_s()
    await action
    return victim.cpu_s() - before


async def expect_linear(
    victim: Victim, take: Callable[[int], Awaitable[object]], size: int
) -> None:
    """Check that the server's CPU time grows with the size of what it is given, and no faster."""
    small, large = [], []
    for _ in range(RUNS):
        small.append(await spend(victim, take(size)))
        large.append(await spend(victim, take(size * FACTOR)))
    few, many = statistics.median(small), statistics.median(large)
    assert many < BOUND * max(few, GRAIN_S), f"{few * 1e3:.2f} ms, then {many * 1e3:.2f} ms"
