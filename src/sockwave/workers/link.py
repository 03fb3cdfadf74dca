"""The supervisor as a worker sees it."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sockwave.workers.control import ControlChannel, Kind, Message
from sockwave.workers.processes import Place


@dataclass(frozen=True, slots=True)
class Order:
    """How a worker is to end."""

    #: Whether no other worker accepts on its sockets.
    is_last: bool
    #: For how many seconds its connections may go on; None: without a limit.
    drain_s: float | None
    #: Why: "SIGINT" and "SIGTERM" are said in the log, with who is waited for.
    cause: str = "close"


class Link:
    """A worker's end of its control channel: what the supervisor orders, and what it is told."""

    def __init__(
        self, channel: ControlChannel, place: Place, early: Sequence[Message] = ()
    ) -> None:
        """Take over a channel; `early` are messages that were received already."""
        self._channel = channel
        self._early = early
        #: Which worker this is.
        self.place = place
        #: Whether the supervisor was told that this worker accepts connections.
        self.is_ready = False
        #: Whether the supervisor, or a signal, has ordered this worker to end.
        self.is_ordered_to_end = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._drain: Callable[[Order], object] | None = None
        self._drop: Callable[[], object] | None = None

    def attend(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        drain: Callable[[Order], object],
        drop: Callable[[], object],
        when_orphaned: Order,
    ) -> None:
        """Call what the supervisor orders, in `loop`: at once, where it has ordered it already.

        `drain(order)` ends the worker, as `when_orphaned` says if the supervisor has gone. `drop()`
        drops what is left.
        """
        self._loop, self._drain, self._drop = loop, drain, drop
        self._when_orphaned = when_orphaned
        loop.add_reader(self._channel.fileno(), self._read)
        for message in self._early:
            self._obey(message)

    def leave(self) -> None:
        """Hear nothing more."""
        if self._loop is not None:
            self._loop.remove_reader(self._channel.fileno())
            self._loop = None

    def _read(self) -> None:
        for message in self._channel.receive():
            self._obey(message)
        if self._channel.is_ended:
            self.leave()
            self.order_to_end(self._when_orphaned)

    def _obey(self, message: Message) -> None:
        if message.kind is Kind.DRAIN:
            self.order_to_end(Order(**message.fields))
        elif message.kind is Kind.DROP and self._drop is not None:
            self.is_ordered_to_end = True
            self._drop()
        elif message.kind is Kind.TOTAL:
            self.place.total = int(message.fields["total"])

    def order_to_end(self, order: Order) -> None:
        """End the worker, once."""
        if not self.is_ordered_to_end and self._drain is not None:
            self.is_ordered_to_end = True
            self._drain(order)

    def tell_ready(self) -> None:
        """Tell the supervisor that connections are accepted."""
        self.is_ready = True
        self._channel.send(Kind.READY)

    def tell_retiring(self) -> None:
        """Ask the supervisor for another worker in this one's place."""
        self._channel.send(Kind.RETIRING)

    def tell_closing(self) -> None:
        """Tell the supervisor that the application has closed its server, unless it was told to."""
        if not self.is_ordered_to_end:
            self._channel.send(Kind.CLOSING)

    def tell_failed(self, text: str) -> None:
        """Tell the supervisor why this worker cannot start."""
        self._channel.send(Kind.FAILED, text=text[-(1 << 16) :])
