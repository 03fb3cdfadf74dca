"""What the clients compared here have in common: arguments, a clock, and what they print."""

import argparse
import asyncio
import json
import time
from collections.abc import Coroutine
from typing import Any

BATCH_COUNT = 64
"""Echoes between two looks at the clock."""


def parse_arguments() -> argparse.Namespace:
    """Read ``--port``, ``--size``, ``--loop``, ``--way``, and how long it is asked."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    parser.add_argument("--way", default="listener")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--warmup", type=float, default=0.3)
    arguments = parser.parse_args()
    arguments.uri = f"ws://127.0.0.1:{arguments.port}/"
    return arguments


def run(main: Coroutine[Any, Any, None], loop: str) -> None:
    """Run `main` on a stock asyncio loop or on uvloop."""
    if loop == "uvloop":
        import uvloop

        uvloop.run(main)
    else:
        asyncio.run(main)


class Meter:
    """Counts echoes: a warm-up, and then a measured time."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._seconds = arguments.seconds
        self._count = 0
        self._is_warm = False
        self._begin, self._cpu = time.perf_counter(), time.process_time()
        self._end = self._begin + arguments.warmup

    def goes_on(self) -> bool:
        """Take note of a batch; return False, and print the figures, when the time is over."""
        self._count += BATCH_COUNT
        now = time.perf_counter()
        if now < self._end:
            return True
        if self._is_warm:
            seconds, cpu_s = now - self._begin, time.process_time() - self._cpu
            print(json.dumps({"count": self._count, "seconds": seconds, "cpu_s": cpu_s}))
            return False
        self._is_warm = True
        self._count = 0
        self._begin, self._cpu = time.perf_counter(), time.process_time()
        self._end = self._begin + self._seconds
        return True
