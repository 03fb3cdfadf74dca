"""How an HTTP/1.1 connection ends: RFC 9112, section 9.6."""

import asyncio
import enum
from collections.abc import Awaitable
from typing import Any

from sockwave.core.io.receiver import PyReceiver
from sockwave.core.io.transport import Transport
from sockwave.http.application import Application
from sockwave.http.deadline import HttpDeadline, Wait
from sockwave.limits import OverLimit


class Phase(enum.Enum):
    """Where a connection stands; it only moves downwards."""

    OPEN = enum.auto()  #: requests are read and answered
    UPGRADED = enum.auto()  #: the transport belongs to the application
    DRAINING = enum.auto()  #: the last answer is on its way, what arrives is dropped
    ENDED = enum.auto()  #: the transport has been told to close


class HttpLifecycle(PyReceiver):
    """A connection with what has to end when it does: its tasks, and what waits for its peer."""

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
        # From accept to the first head, whatever comes meanwhile: that deadline has been set.
        self._deadline = HttpDeadline(transport, self.limits, self.loop)

    def write(self, data: bytes) -> None:
        """Queue bytes."""
        self._deadline.written_size += len(data)
        self.transport.write(data)

    def drained(self) -> Awaitable[None]:
        """Return what is done when the backlog is under the high-water mark."""
        return self.transport.drained()

    def dismiss(self, refused: OverLimit) -> None:
        """Make room for somebody else's handshake, while nothing has been asked."""
        self._leave(Phase.ENDED)
        self.application.admission.turn_away(self.transport, refused)

    def hold(self, task: asyncio.Task[Any]) -> None:
        """Keep a task, and cancel it when the connection goes."""
        if self._lost:
            task.cancel()
        else:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def abort(self) -> None:
        """Drop the connection."""
        self._leave(Phase.ENDED)
        self.transport.abort()

    def connection_lost(self, error: OSError | None) -> None:
        """Cancel everything that works for a peer that is gone."""
        self._lost = True
        self._leave(Phase.ENDED)
        for task in list(self._tasks):
            task.cancel()

    def _end(self) -> None:
        """Close the transport when the peer has taken nearly everything that was written to it."""
        try:
            self._leave(Phase.DRAINING)
            self._deadline.begin(Wait.EXCHANGE)
            if self.transport.backlog_size > self.limits.high_water:
                self.hold(self.loop.create_task(self._close_drained()))
            else:
                self._close_carrier()
        except BaseException:
            # Half of it has been done, and nothing else would end it.
            self.transport.abort()
            raise

    async def _close_drained(self) -> None:
        """Close the transport behind a large answer."""
        await self.transport.drained()
        self._deadline.begin(Wait.EXCHANGE)
        self._close_carrier()

    def _close_carrier(self) -> None:
        self._leave(Phase.ENDED)
        self.transport.close()

    def _leave(self, phase: Phase) -> None:
        """Be done with requests."""
        self.application.admission.end_handshake(self.transport)
        self._phase = phase
        self._input.clear()
