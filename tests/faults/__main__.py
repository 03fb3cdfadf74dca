"""Runs the faults of the fault plan, on both engines, and prints a line of figures for each.

make faults                                  all of them, long
make faults ARGS="t9 t16 --engine epoll"     two of them, on one engine
make faults ARGS="--short"                   what the test suite runs
"""

import argparse
import asyncio
import random
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

from faults import (
    t02_chaos,
    t06_drain,
    t08_calls,
    t09_memory,
    t11_floods,
    t16_cancel,
    t17_churn,
    t22_programs,
    t23_requests,
)
from faults.ledger import Verdict

ENGINES = ("epoll", "asyncio")
Run: TypeAlias = Callable[..., Coroutine[Any, Any, Verdict]]

#: Name → what runs it, and how much of it is long, and short.
FAULTS: dict[str, tuple[Run, dict[str, Any], dict[str, Any]]] = {
    "t2": (t02_chaos.run, t02_chaos.LONG, t02_chaos.SHORT),
    "t6": (t06_drain.run, t06_drain.LONG, t06_drain.SHORT),
    "t8": (t08_calls.run, t08_calls.LONG, t08_calls.SHORT),
    "t9": (t09_memory.run, t09_memory.LONG, t09_memory.SHORT),
    "t11": (t11_floods.run, t11_floods.LONG, t11_floods.SHORT),
    "t16": (t16_cancel.run, t16_cancel.LONG, t16_cancel.SHORT),
    "t17": (t17_churn.run, t17_churn.LONG, t17_churn.SHORT),
    "t22": (t22_programs.run, t22_programs.LONG, t22_programs.SHORT),
    "t23": (t23_requests.run, t23_requests.LONG, t23_requests.SHORT),
}


async def run(name: str, engine: str, seed: int, *, short: bool) -> Verdict:
    """Run one fault on one engine."""
    function, long_scale, short_scale = FAULTS[name]
    return await function(engine, seed, **(short_scale if short else long_scale))


def main() -> int:
    """Run what the command line asks for; 1 if a bar was missed."""
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("faults", nargs="*", metavar="fault", help=", ".join(FAULTS))
    parser.add_argument("--engine", choices=ENGINES, help="one engine (default: both)")
    parser.add_argument("--seed", type=int, help="of an earlier run (default: a new one)")
    parser.add_argument("--short", action="store_true", help="a few seconds for each")
    arguments = parser.parse_args()
    unknown = set(arguments.faults) - set(FAULTS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(FAULTS)}")
    seed = random.randrange(1, 10**6) if arguments.seed is None else arguments.seed
    missed = False
    for name in arguments.faults or FAULTS:
        for engine in [arguments.engine] if arguments.engine else ENGINES:
            verdict = asyncio.run(run(name, engine, seed, short=arguments.short))
            print(verdict, flush=True)
            missed |= bool(verdict.misses)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
