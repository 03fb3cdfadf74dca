"""What becomes of the commands that a server answers, whoever waits for that."""

import asyncio
from collections.abc import Callable, Generator
from typing import Any, Generic, Protocol, TypeVar

from sockwave.deliveries import Published
from sockwave.errors import ConnectionClosed, SockwaveError

Answer = TypeVar("Answer")


class Waiter(Protocol):
    """What wakes a task, or a thread, that waits for an answer: a future, or its like."""

    def done(self) -> bool:
        """Tell whether it has been woken."""

    def set_result(self, result: None, /) -> None:
        """Wake it."""

    def set_exception(self, error: Exception, /) -> None:
        """Raise an error in it."""


class Speaker(Protocol):
    """A connection that speaks `sockwave.1`, as its parts see it."""

    @property
    def is_open(self) -> bool:
        """Whether commands can be sent."""

    @property
    def subprotocol(self) -> str | None:
        """What the server has chosen."""

    @property
    def close_code(self) -> int | None:
        """How it has ended; None: not yet."""

    @property
    def close_reason(self) -> str | None:
        """Why it has ended."""

    def close(self, code: int, reason: str) -> object:
        """Close the connection."""

    # Whether no answer will come any more.
    @property
    def _has_gone(self) -> bool: ...
    # Send a command.
    def _say(self, command: str) -> object: ...
    # … and tell whether another one may follow at once. Else `Dialogue.go_on` is called for it.
    def _say_in_turn(self, command: str) -> bool: ...
    # Read the socket no more, or again.
    def _hold(self, is_full: bool) -> None: ...
    # Hand a message to the application that is none of a topic's.
    def _hand_message(self, message: str | bytes) -> None: ...
    # Take note that a delivery waits, or a change of members.
    def _tell_delivery(self) -> None: ...
    # Have something logged that the server has done.
    def _report(self, log: Callable[..., None], text: str, *arguments: object) -> None: ...
    # Make what a command returns, …
    def _expect(self) -> "Reply[Any]": ...
    # … and what publishing a message does.
    def _expect_published(self, id: str) -> "Reply[Published]": ...
    def _note_awaited(self, reply: "Reply[Any]", *, is_awaited: bool) -> None: ...


class Reply(Generic[Answer]):
    """What becomes of a command. It need not be waited for, and may be waited for again.

    It gives the server's answer; it raises SockwaveError where the server refuses, and
    ConnectionClosed where the connection ends before the answer. How it is waited for, subclasses
    tell.
    """

    __slots__ = ("_answer", "_connection", "_error", "_is_known", "_waiters")

    def __init__(self, connection: Speaker | None) -> None:
        self._connection = connection
        self._answer: Any = None
        self._error: SockwaveError | None = None
        self._is_known = False
        self._waiters: list[Waiter] | None = None

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for it."""
        return bool(self._waiters)

    @property
    def is_known(self) -> bool:
        """Whether the answer is there."""
        return self._is_known

    def add_waiter(self, waiter: Waiter) -> None:
        """Wake somebody when the answer is there. Raises ConnectionClosed if none will come."""
        connection = self._connection
        if connection is None or connection._has_gone:
            raise closed(connection)
        self._waiters = [*(self._waiters or ()), waiter]
        connection._note_awaited(self, is_awaited=True)

    def remove_waiter(self, waiter: Waiter) -> None:
        """Do not wake somebody any more."""
        self._waiters = [one for one in self._waiters or () if one is not waiter] or None
        if self._waiters is None and self._connection is not None:
            self._connection._note_awaited(self, is_awaited=False)

    def read(self) -> Answer:
        """Return the answer that is there, or raise the error in its place."""
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
        """Note that there will be no other answer; return whether somebody hears of it now."""
        self._error = error
        return self._settle()

    def interrupt(self, error: SockwaveError) -> None:
        """Raise an error in those who wait now; the answer may still come."""
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


class Outcome(Reply[Answer]):
    """What becomes of a command: awaited, it gives the server's answer.

    It need not be awaited, and may be awaited again. It raises SockwaveError where the server
    refuses, and ConnectionClosed where the connection ends before the answer.
    """

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, Answer]:
        return self._wait().__await__()

    async def _wait(self) -> Answer:
        if not self._is_known:
            waiter = asyncio.get_running_loop().create_future()
            self.add_waiter(waiter)
            try:
                await waiter
            finally:
                self.remove_waiter(waiter)
        return self.read()


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
