"""A loop of the server's own, and the signals that are heard there."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sockwave.errors import SockwaveError
from sockwave.options import Options
from sockwave.runtime.engine import create_loop

if TYPE_CHECKING:
    from sockwave.runtime.selector import CoreSelector


def run_alone(
    serve: "Callable[[CoreSelector | None], Coroutine[Any, Any, None]]", options: Options
) -> None:
    """Run `serve` in a new loop; it is given the loop's selector where that is ours.

    Raises SockwaveError where a loop runs already.
    """
    with contextlib.suppress(RuntimeError):
        asyncio.get_running_loop()
        raise SockwaveError("a loop runs here: expected `await server.serve_forever()`")
    loop, selector = create_loop(options)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(serve(selector))


@contextlib.contextmanager
def heard_signals(listeners: "Mapping[str, Callable[[], object]]") -> Iterator[None]:
    """Call a function of ours for each signal of a name, as long as the context lasts."""
    loop = asyncio.get_running_loop()
    heard = []
    for name, listener in listeners.items():
        # Not every system has them, and only the main thread may ask for them.
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError, AttributeError):
            number = getattr(signal, name)
            loop.add_signal_handler(number, listener)
            heard.append(number)
    try:
        yield
    finally:
        for number in heard:
            loop.remove_signal_handler(number)
