"""Waiting with a timeout, and for the end of a server or a connection."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Protocol, Self, TypeAlias, TypeVar

Result = TypeVar("Result")

#: Called with the task that waits for the end of the server.
Excuse: TypeAlias = Callable[[asyncio.Task[Any] | None], object]


async def within(seconds: float, awaitable: Awaitable[Result]) -> Result:
    """Await `awaitable` for at most `seconds`; raises TimeoutError.

    Not in the compiled core, where a `with` statement crashes the process (Cython 3.3) if there is
    no memory left for the traceback of an exception.
    """
    async with asyncio.timeout(seconds):
        return await awaitable


async def outcome_of(awaitable: Awaitable[Result]) -> Result:
    """Await any awaitable: asyncio makes a task of a coroutine only."""
    return await awaitable


class ServerEnd(asyncio.Future[None]):
    """Done when a server has ended.

    The end of a server waits for the calls of listeners, but not for one that returns or awaits
    this future: the two would wait for each other.
    """

    _excuse: Excuse

    @classmethod
    def shielding(cls, done: asyncio.Future[None], excuse: Excuse) -> Self:
        """Return a future that is done when `done` is; to cancel it does not cancel `done`.

        `excuse` is called with each task that awaits it.
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


class Endable(Protocol):
    """A connection."""

    async def wait_closed(self) -> None:
        """Wait until it has ended."""


class ConnectionEnd:
    """What `close` of a connection returns: awaited, it is done when the connection has ended.

    It costs next to nothing where it is not awaited, and a listener may return it: no task waits
    for it then.
    """

    __slots__ = ("_connection",)

    def __init__(self, connection: Endable) -> None:
        self._connection = connection

    def __await__(self) -> Generator[Any, None, None]:
        return self._connection.wait_closed().__await__()


#: Ends that need no task which waits for them.
ENDS = (ServerEnd, ConnectionEnd)
