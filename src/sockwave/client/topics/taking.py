"""The tasks, and the listeners, that take what the topics of a connection bring."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from sockwave.client.topics.outcome import Speaker
from sockwave.client.topics.reception import Reception
from sockwave.deliveries import Delivery
from sockwave.errors import SockwaveError


class _Connection(Speaker, Protocol):
    """A connection whose listeners may be asynchronous."""

    def create_task(self, coroutine: Coroutine[Any, Any, None]) -> object:
        """Run a coroutine as a task of the connection."""


class Taking:
    """Who takes the deliveries of a connection: tasks that wait for one, or listeners."""

    __slots__ = ("_connection", "_has_ended", "_reception", "_waiters")

    def __init__(self, connection: _Connection, reception: Reception) -> None:
        self._connection = connection
        self._reception = reception
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._has_ended = False

    async def take(self) -> Delivery | None:
        """Wait for the next delivery; None: none will come. Raises SockwaveError."""
        while True:
            if self._reception.listeners.of("delivery"):
                raise SockwaveError(
                    "`deliveries` and `receive_delivery`: expected a connection without a listener "
                    "of 'delivery', which gets all of them, given one that has one"
                )
            found = self._take_now()
            if found is not None or not await self._wait():
                return found

    def _take_now(self) -> Delivery | None:
        found = self._reception.queue.take()
        self._reception.balance()
        return found

    def listen(self, event: str, listener: Callable[..., object], *, once: bool) -> None:
        """Add a listener; one of `delivery` gets what waits.

        Raises TypeError for a wrong listener, SockwaveError where tasks take deliveries.
        """
        if event == "delivery" and self._waiters:
            raise SockwaveError(
                "a listener of 'delivery': expected a connection whose deliveries nobody else "
                "takes, given one that a task waits for one of"
            )
        self._reception.listeners.add(event, listener, once=once)
        is_late = event == "delivery" and len(self._reception.queue) > 0
        if is_late and not self._connection._has_gone:
            self._connection.create_task(self._hand_over())

    async def _hand_over(self) -> None:
        """Hand the deliveries that wait to a listener that was added late."""
        while self._reception.listeners.of("delivery"):
            delivery = self._take_now()
            if delivery is None:
                return
            for one in self._reception.listeners.call("delivery", delivery):
                await one

    def wake(self) -> None:
        """Wake the task that has waited longest."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def end(self) -> None:
        """Note that no more will come."""
        self._has_ended = True
        while self._waiters:
            self.wake()

    async def _wait(self) -> bool:
        """Wait until something may be there; return False where nothing will come any more."""
        if self._has_ended:
            return False
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except BaseException:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            elif len(self._reception.queue):
                self.wake()  # this task was woken, and does not look: the next one has to
            raise
        return True
