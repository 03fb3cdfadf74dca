"""What the calls return that a server answers: awaited, they give its answer."""

import asyncio
from collections.abc import Awaitable, Coroutine, Generator
from typing import Any, Generic, Protocol, TypeVar

from sockwave.errors import ConnectionClosed, SockwaveError

Answer = TypeVar("Answer")


class Speaker(Protocol):
    """A connection that speaks `sockwave.1`, as its parts see it."""

    @property
    def close_code(self) -> int | None:
        """How it has ended; None: not yet."""

    @property
    def close_reason(self) -> str | None:
        """Why it has ended."""

    @property
    def _has_gone(self) -> bool: ...
    def _say(self, command: str) -> Awaitable[None]: ...
    def _hold(self, is_full: bool) -> None: ...
    def _note_awaited(self, outcome: "Outcome[Any]", *, is_awaited: bool) -> None: ...
    def create_task(self, coroutine: Coroutine[Any, Any, None]) -> object:
        """Run a coroutine as a task of the connection."""


class Outcome(Generic[Answer]):
    """What becomes of a command. It need not be awaited, and may be awaited again.

    Awaited, it gives the server's answer; it raises SockwaveError where the server refuses, and
    ConnectionClosed where the connection ends before the answer.
    """

    __slots__ = ("_answer", "_connection", "_error", "_is_known", "_waiters")

    def __init__(self, connection: Speaker | None) -> None:
        self._connection = connection
        self._answer: Any = None
        self._error: SockwaveError | None = None
        self._is_known = False
        self._waiters: list[asyncio.Future[None]] | None = None

    def __await__(self) -> Generator[Any, None, Answer]:
        return self._wait().__await__()

    @property
    def is_awaited(self) -> bool:
        """Whether a task waits for it."""
        return bool(self._waiters)

    @property
    def is_known(self) -> bool:
        """Whether the answer is there."""
        return self._is_known

    async def _wait(self) -> Answer:
        connection = self._connection
        if not self._is_known:
            if connection is None or connection._has_gone:
                raise closed(connection)
            waiter = asyncio.get_running_loop().create_future()
            self._waiters = [*(self._waiters or ()), waiter]
            connection._note_awaited(self, is_awaited=True)
            try:
                await waiter
            finally:
                self._waiters = [one for one in self._waiters or () if one is not waiter] or None
                if not self._waiters:
                    connection._note_awaited(self, is_awaited=False)
        if self._error is not None:
            raise self._error.with_traceback(None)
        answer: Answer = self._answer
        return answer

    def move(self, connection: Speaker | None) -> None:
        """Wait for the answer on another connection from now on."""
        self._connection = connection

    def give(self, answer: Answer) -> None:
        """Note the server's answer."""
        self._answer = answer
        self._settle()

    def refuse(self, error: SockwaveError) -> bool:
        """Note that there will be no other answer; return whether a task hears of it now."""
        self._error = error
        return self._settle()

    def interrupt(self, error: SockwaveError) -> None:
        """Raise an error in the tasks that wait now; the answer may still come."""
        for waiter in self._waiters or ():
            if not waiter.done():
                waiter.set_exception(error)

    def _settle(self) -> bool:
        self._is_known = True
        is_awaited = self.is_awaited
        for waiter in self._waiters or ():
            if not waiter.done():
                waiter.set_result(None)
        return is_awaited


class Publishing(Outcome[Answer]):
    """What becomes of a message that is published; `id` is what it is called."""

    __slots__ = ("id",)

    def __init__(self, connection: Speaker | None, id: str) -> None:
        super().__init__(connection)
        #: What the message is called: a second one with it is not published.
        self.id = id


def closed(connection: Speaker | None) -> ConnectionClosed:
    """Make the error for an answer that does not come on a connection that has ended."""
    if connection is None:
        return ConnectionClosed(1006, "no connection is open")
    return ConnectionClosed(connection.close_code or 1006, connection.close_reason or "")
