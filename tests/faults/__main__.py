"""Runs the faults of the fault plan, on both engines, and prints a line of figures for each.

make faults                                  all of them, long
make faults ARGS="t9 t16 --engine epoll"     two of them, on one engine
make faults ARGS="--short"                   what the test suite runs
make faults ARGS="t4 --trials 100 --seed 7"  a part of it, of those that have trials
"""

import argparse
import asyncio
import random
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

from faults import (
    t02_chaos,
    t03_workers,
    t04_valkey,
    t05_nats,
    t06_drain,
    t08_calls,
    t09_memory,
    t11_floods,
    t16_cancel,
    t17_churn,
    t22_programs,
    t23_requests,
    t24_asgi,
    t25_sequencer,
    t26_stopped,
    t27_presence,
    t28_drains,
    t29_reconnects,
)
from faults.ledger import Verdict

ENGINES = ("epoll", "asyncio")
Run: TypeAlias = Callable[..., Coroutine[Any, Any, Verdict]]

#: Name → what runs it, and how much of it is long, and short.
FAULTS: dict[str, tuple[Run, dict[str, Any], dict[str, Any]]] = {
    "t2": (t02_chaos.run, t02_chaos.LONG, t02_chaos.SHORT),
    "t3": (t03_workers.run, t03_workers.LONG, t03_workers.SHORT),
    "t4": (t04_valkey.run, t04_valkey.LONG, t04_valkey.SHORT),
    "t5": (t05_nats.run, t05_nats.LONG, t05_nats.SHORT),
    "t6": (t06_drain.run, t06_drain.LONG, t06_drain.SHORT),
    "t8": (t08_calls.run, t08_calls.LONG, t08_calls.SHORT),
    "t9": (t09_memory.run, t09_memory.LONG, t09_memory.SHORT),
    "t10-valkey": (
        t04_valkey.run,
        {"trials": 50, "only": "half-open"},
        {"trials": 1, "only": "half-open"},
    ),
    "t10-nats": (
        t05_nats.run,
        {"trials": 50, "only": "half-open"},
        {"trials": 1, "only": "half-open"},
    ),
    "t11": (t11_floods.run, t11_floods.LONG, t11_floods.SHORT),
    "t16": (t16_cancel.run, t16_cancel.LONG, t16_cancel.SHORT),
    "t17": (t17_churn.run, t17_churn.LONG, t17_churn.SHORT),
    "t22": (t22_programs.run, t22_programs.LONG, t22_programs.SHORT),
    "t23": (t23_requests.run, t23_requests.LONG, t23_requests.SHORT),
    "t24": (t24_asgi.run, t24_asgi.LONG, t24_asgi.SHORT),
    "t25": (t25_sequencer.run, t25_sequencer.LONG, t25_sequencer.SHORT),
    "t26": (t26_stopped.run, t26_stopped.LONG, t26_stopped.SHORT),
    "t27": (t27_presence.run, t27_presence.LONG, t27_presence.SHORT),
    "t28": (t28_drains.run, t28_drains.LONG, t28_drains.SHORT),
    "t29": (t29_reconnects.run, t29_reconnects.LONG, t29_reconnects.SHORT),
}


async def run(
    name: str, engine: str, seed: int, *, short: bool, trials: int | None = None
) -> Verdict:
    """Run one fault on one engine; `trials`: in place of how many it has, where it has some."""
    function, long_scale, short_scale = FAULTS[name]
    scale = short_scale if short else long_scale
    if trials is not None and "trials" in scale:
        scale = scale | {"trials": trials}
    return await function(engine, seed, **scale)


def main() -> int:
    """Run what the command line asks for; 1 if a bar was missed."""
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("faults", nargs="*", metavar="fault", help=", ".join(FAULTS))
    parser.add_argument("--engine", choices=ENGINES, help="one engine (default: both)")
    parser.add_argument("--seed", type=int, help="of an earlier run (default: a new one)")
    parser.add_argument("--trials", type=int, help="how often, in place of what each has by itself")
    parser.add_argument("--short", action="store_true", help="a few seconds for each")
    arguments = parser.parse_args()
    unknown = set(arguments.faults) - set(FAULTS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(FAULTS)}")
    seed = random.randrange(1, 10**6) if arguments.seed is None else arguments.seed
    missed = False
    for name in arguments.faults or FAULTS:
        for engine in [arguments.engine] if arguments.engine else ENGINES:
            running = run(name, engine, seed, short=arguments.short, trials=arguments.trials)
            verdict = asyncio.run(running)
            print(verdict, flush=True)
            missed |= bool(verdict.misses)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
