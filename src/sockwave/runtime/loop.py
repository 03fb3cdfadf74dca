"""Running a server in a loop of its own."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from sockwave.errors import SockwaveError
from sockwave.options import Options
from sockwave.runtime.engine import create_loop

if TYPE_CHECKING:
    from sockwave.runtime.selector import CoreSelector


def run_in_own_loop(
    serve: "Callable[[CoreSelector | None], Coroutine[Any, Any, None]]",
    options: Options,
    make_loop: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> None:
    """Run `serve` in a new loop; its argument is the loop's CoreSelector, None if it has none.

    `make_loop` makes a loop of another kind. Raises SockwaveError if a loop runs already.
    """
    with contextlib.suppress(RuntimeError):
        asyncio.get_running_loop()
        raise SockwaveError("a loop runs here: expected `await server.serve_forever()`")
    loop, selector = create_loop(options) if make_loop is None else (make_loop(), None)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(serve(selector))
