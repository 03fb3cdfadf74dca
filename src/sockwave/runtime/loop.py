"""Running a server in a loop of its own."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

from sockwave.errors import SockwaveError


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
