"""Waiting for something, but not for ever."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Self, TypeAlias, TypeVar

Result = TypeVar("Result")

#: What is told which task waits for the end of the server.
Excuse: TypeAlias = Callable[[asyncio.Task[Any] | None], object]


async def within(seconds: float, awaitable: Awaitable[Result]) -> Result:
    """Wait for what is awaited at most so many seconds; raises TimeoutError.

    Not in the compiled core, where a `with` statement crashes the process (Cython 3.3) for an
    exception that there was no memory to give a traceback to.
    """
    async with asyncio.timeout(seconds):
        return await awaitable


async def outcome_of(awaitable: Awaitable[Result]) -> Result:
    """Wait for whatever can be awaited: to asyncio, only a coroutine makes a task."""
    return await awaitable


class Farewell(asyncio.Future[None]):
    """Done when a server has ended; a listener that returns or awaits it is not waited for.

    The end waits for listeners: they would wait for each other.
    """

    _excuse: Excuse

    @classmethod
    def shielding(cls, done: asyncio.Future[None], excuse: Excuse) -> Self:
        """Return what is done with `done`; who cancels it cancels nothing else.

        The task that awaits it is given to `excuse`.
        """
        future = cls(loop=done.get_loop())
        future._excuse = excuse
        if done.done():
            future.set_result(None)
        else:
            done.add_done_callback(future._end)
        return future

    def __await__(self) -> Generator[Any, None, None]:
        if not self.done():
            self._excuse(asyncio.current_task(self.get_loop()))
        return super().__await__()

    def _end(self, _: asyncio.Future[None]) -> None:
        if not self.done():
            self.set_result(None)
