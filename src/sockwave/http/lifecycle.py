"""How an HTTP/1.1 connection ends: RFC 9112, section 9.6."""

import asyncio
import enum
from collections.abc import Awaitable
from typing import Any

from sockwave.core.io.receiver import PyReceiver
from sockwave.core.io.transport import Transport
from sockwave.http.application import Application
from sockwave.http.deadline import HttpDeadline, Wait
from sockwave.http.scanner import has_method_head
from sockwave.limits import OverLimit


class Phase(enum.Enum):
    """The phases of a connection, in order; it never goes back."""

    OPEN = enum.auto()  #: requests are read and answered
    UPGRADED = enum.auto()  #: the transport belongs to a WebSocket connection
    DRAINING = enum.auto()  #: the last answer is being sent, and input is dropped
    ENDED = enum.auto()  #: the transport is closing or closed


class HttpLifecycle(PyReceiver):
    """The base of `HttpConnection` that ends it: its phases, its tasks and its last answer."""

    __slots__ = (
        "__weakref__",
        "_deadline",
        "_input",
        "_lost",
        "_phase",
        "_tasks",
        "application",
        "limits",
        "loop",
        "transport",
    )

    def __init__(self, transport: Transport, application: Application) -> None:
        self.transport = transport
        self.application = application
        self.limits = application.limits
        self.loop = application.loop
        self._input = bytearray()
        self._phase = Phase.OPEN
        self._tasks: set[asyncio.Task[Any]] = set()
        self._lost = False
        # The deadline for the first head was set at accept.
        self._deadline = HttpDeadline(transport, self.limits, self.loop)

    def write(self, data: bytes) -> None:
        """Queue bytes."""
        self._deadline.written_size += len(data)
        self.transport.write(data)

    def drained(self) -> Awaitable[None]:
        """Return what is done when the backlog is under the high-water mark."""
        return self.transport.drained()

    def dismiss(self, refused: OverLimit) -> None:
        """Reject this connection, which has sent no request yet, to make room for another."""
        to_head = has_method_head(self._input)
        self._enter(Phase.ENDED)
        self.application.admission.reject(self.transport, refused, to_head=to_head)

    def track_task(self, task: asyncio.Task[Any]) -> None:
        """Keep a task, and cancel it when the connection is lost."""
        if self._lost:
            task.cancel()
        else:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def abort(self) -> None:
        """Drop the connection."""
        self._enter(Phase.ENDED)
        self.transport.close()

    def connection_lost(self, error: OSError | None) -> None:
        """Cancel all tasks of the connection: its client has gone."""
        self._lost = True
        self._enter(Phase.ENDED)
        for task in list(self._tasks):
            task.cancel()

    def _end(self) -> None:
        """Close the transport once its backlog is under the high-water mark."""
        try:
            self._enter(Phase.DRAINING)
            self._deadline.begin(Wait.EXCHANGE)
            if self.transport.backlog_size > self.limits.high_water:
                self.track_task(self.loop.create_task(self._close_drained()))
            else:
                self._close_transport()
        except BaseException:
            # The connection has left its open phase, so that nothing else would end it.
            self.transport.close()
            raise

    async def _close_drained(self) -> None:
        """Close the transport once the client has received nearly all of a large answer."""
        await self.transport.drained()
        self._deadline.begin(Wait.EXCHANGE)
        self._close_transport()

    def _close_transport(self) -> None:
        self._enter(Phase.ENDED)
        self.transport.shutdown()

    def _enter(self, phase: Phase) -> None:
        """Enter a phase in which no more requests are read."""
        self.application.admission.end_handshake(self.transport)
        self._phase = phase
        self._input.clear()
