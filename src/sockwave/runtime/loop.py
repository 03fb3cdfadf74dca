"""The loop of a server: one of its own, and whether one is as asyncio makes them."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

from sockwave.errors import SockwaveError


def is_plain(loop: asyncio.AbstractEventLoop) -> bool:
    """Tell whether a loop is as asyncio makes them, with the clock that all of these have.

    What a subclass makes of it is not known, nor what a program has put in the place of its clock.
    """
    return type(loop) is asyncio.SelectorEventLoop and "time" not in vars(loop)


def run_in_own_loop(
    serve: Callable[[], Coroutine[Any, Any, None]],
    make_loop: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> None:
    """Run `serve` in a new loop; `make_loop` makes one of another kind.

    Raises SockwaveError if a loop runs already.
    """
    with contextlib.suppress(RuntimeError):
        asyncio.get_running_loop()
        raise SockwaveError("a loop runs here: expected `await server.serve_forever()`")
    with asyncio.Runner(loop_factory=make_loop or asyncio.new_event_loop) as runner:
        runner.run(serve())
