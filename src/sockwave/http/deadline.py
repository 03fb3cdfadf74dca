"""The deadline of an HTTP connection: RFC 9112, section 9.5."""

import asyncio
import enum

from sockwave.core.io.transport import Transport
from sockwave.limits import Limits


class Wait(enum.Enum):
    """What the deadline is for."""

    HEAD = enum.auto()  #: the end of a request head, from accept or from its first byte
    NEXT = enum.auto()  #: the next request
    EXCHANGE = enum.auto()  #: any progress of a body or an answer
    ANSWER = enum.auto()  #: the head of an answer, by the application


class HttpDeadline:
    """Sets the deadline of a transport, and knows what it is for.

    The first one, for the first head, was set at accept.
    """

    __slots__ = (
        "_answer_end",
        "_limits",
        "_loop",
        "_moved_size",
        "_transport",
        "wait",
        "written_size",
    )

    def __init__(
        self, transport: Transport, limits: Limits, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._loop = loop
        self._transport = transport
        self._limits = limits
        #: How many bytes were written to the transport.
        self.written_size = 0
        self._moved_size = -1
        # In the time of the loop; None: an answer may take any time.
        self._answer_end: float | None = None
        self.wait = Wait.HEAD

    def begin(self, wait: Wait) -> None:
        """Start waiting for `wait`: set a new deadline."""
        self.wait = wait
        self._moved_size = -1
        if wait is Wait.ANSWER:
            timeout = self._limits.answer_timeout
            self._answer_end = None if timeout is None else self._loop.time() + timeout
        self._set_deadline()

    def _set_deadline(self) -> None:
        """Set the transport's deadline for what is being waited for."""
        wait = self.wait
        if wait is Wait.HEAD:
            timeout = self._limits.handshake_timeout
        elif wait is Wait.NEXT:
            timeout = self._limits.keep_alive_timeout
        else:
            timeout = self._limits.body_timeout
            if wait is Wait.ANSWER and self._answer_end is not None:
                left = max(self._answer_end - self._loop.time(), 0)
                timeout = left if timeout is None else min(left, timeout)
        self._transport.set_deadline(timeout)

    def change(self, wait: Wait) -> None:
        """Start waiting for `wait`; if that is waited for already, keep the deadline."""
        if wait is not self.wait:
            self.begin(wait)

    def is_answer_overdue(self) -> bool:
        """Tell, at a deadline, whether the application has taken too long to answer."""
        return (
            self.wait is Wait.ANSWER
            and self._answer_end is not None
            and self._loop.time() >= self._answer_end
        )

    def has_stalled(self, *, half_closed: bool) -> bool:
        """Tell, at a deadline, whether a half-closed client has received nothing since the last.

        Such a client may be gone. Otherwise a new deadline is set. A client that is not half-closed
        and receives nothing of its backlog is left to `write_timeout`.
        """
        moved_size = self.written_size - self._transport.backlog_size
        if moved_size == self._moved_size and half_closed:
            return True
        self._set_deadline()
        self._moved_size = moved_size
        return False
