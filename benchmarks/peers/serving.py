"""What the echo servers compared here have in common: arguments, and the loop that runs them."""

import argparse
import asyncio
from collections.abc import Coroutine
from typing import Any


def parse_arguments(*loops: str) -> argparse.Namespace:
    """Read ``--port``, ``--loop`` (asyncio, uvloop, or one of `loops`), sockwave's ``--engine``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--loop", choices=["asyncio", "uvloop", *loops], default="asyncio")
    parser.add_argument("--engine", default="auto")
    return parser.parse_args()


def run(main: Coroutine[Any, Any, None], loop: str) -> None:
    """Run `main` to its end on a stock asyncio loop or on uvloop."""
    if loop == "uvloop":
        import uvloop

        uvloop.run(main)
    else:
        asyncio.run(main)
