"""Deliveries that wait for the application."""

import asyncio
from collections import deque

from sockwave.client.topics.state import Subscription
from sockwave.deliveries import Delivery, Position

#: What one that waits takes besides its message, in bytes.
_OVERHEAD_SIZE = 256


class Entry:
    """A delivery, or a position alone, which is known once all before it has been taken."""

    __slots__ = ("delivery", "position", "size", "subscription")

    def __init__(
        self, subscription: Subscription, position: Position | None, delivery: Delivery | None
    ) -> None:
        self.subscription = subscription
        self.position = position
        self.delivery = delivery
        message = None if delivery is None else delivery.message
        self.size = _OVERHEAD_SIZE + (0 if message is None else len(message))


class DeliveryQueue:
    """The deliveries of one connection, in order, and the tasks that wait for one."""

    __slots__ = ("_entries", "_has_ended", "_waiters", "size")

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._has_ended = False
        #: Bytes of all that wait.
        self.size = 0

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, entry: Entry) -> None:
        """Add what has come last, and wake the task that has waited longest."""
        self._entries.append(entry)
        self.size += entry.size
        self._wake()

    def take(self) -> Entry | None:
        """Take out what has come first; None: nothing is there."""
        if not self._entries:
            return None
        entry = self._entries.popleft()
        self.size -= entry.size
        return entry

    def drop(self, subscription: Subscription | None = None) -> None:
        """Drop what waits, of one subscription, or of all."""
        kept = (
            []
            if subscription is None
            else [one for one in self._entries if one.subscription is not subscription]
        )
        self._entries = deque(kept)
        self.size = sum(one.size for one in kept)

    def end(self) -> None:
        """Note that no more will come."""
        self._has_ended = True
        while self._waiters:
            self._wake()

    @property
    def is_awaited(self) -> bool:
        """Whether a task waits."""
        return bool(self._waiters)

    async def wait(self) -> bool:
        """Wait until something may be there; return False where nothing will come any more."""
        if self._entries:
            return True
        if self._has_ended:
            return False
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except BaseException:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            elif self._entries:
                self._wake()  # this task was woken, and does not look: the next one has to
            raise
        return True

    def _wake(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
