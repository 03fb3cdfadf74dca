"""A bound for the memory that all connections together hold: the option `memory_budget`.

A timer adds up the bytes now and then. A sum updated at every change would cost each message
something, and an error in it would stay.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import TypeAlias

from sockwave.core.http.connection import HttpConnection
from sockwave.core.opening.newcomer import PendingConnection
from sockwave.core.session.connection import Connection
from sockwave.core.session.hub import Hub
from sockwave.log import peers

# Fractions of the budget: from the first on, new connections are rejected; from the second on, the
# connections that hold the most are dropped.
CLOSED_PART = 0.90
SHED_PART = 0.95

# The interval of the checks, and as much again for each so many connections: so the checks take
# less than one per cent of the time, however many connections there are.
_CHECK_INTERVAL_S = 0.1
_INTERVAL_COUNT = 10_000


#: A connection that has not become a WebSocket, or not yet.
NotUpgraded: TypeAlias = PendingConnection | HttpConnection


class MemoryWatch:
    """Checks how many bytes the connections hold, and drops some of them if it is too much.

    `opening` returns the connections whose handshake is under way, `not_upgraded` those that are no
    WebSockets.
    """

    def __init__(
        self,
        hub: Hub,
        application_hub: Hub,
        opening: Callable[[], Iterable[Connection]],
        not_upgraded: Callable[[], Sequence[NotUpgraded]],
    ) -> None:
        self._hub = hub
        # Of the WebSockets of ASGI applications.
        self._application_hub = application_hub
        self._opening = opening
        self._not_upgraded = not_upgraded
        self._timer: asyncio.TimerHandle | None = None

    def check(self) -> None:
        """Check now, and again after the interval; does nothing without a budget."""
        budget = self._hub.limits.memory_budget
        if budget is None:
            return
        not_upgraded = self._not_upgraded()
        count = len(self._hub.connections) + len(self._application_hub.connections)
        count += len(not_upgraded)
        delay_s = _CHECK_INTERVAL_S * (1 + count // _INTERVAL_COUNT)
        # The timer is set first: what follows may run out of memory, and checks have to go on.
        self._timer = self._hub.engine.loop.call_later(delay_s, self.check)
        held_size = self._hub.measure(self._opening()) + self._application_hub.measure(())
        held_size += sum(one.held_size for one in not_upgraded)
        if held_size >= SHED_PART * budget:
            held_size = self._shed(not_upgraded, held_size, int(SHED_PART * budget))
        self._hub.is_memory_low = held_size >= CLOSED_PART * budget

    def stop(self) -> None:
        """Stop checking."""
        if self._timer is not None:
            self._timer.cancel()

    def _shed(self, not_upgraded: Sequence[NotUpgraded], held_size: int, most_size: int) -> int:
        """Drop connections, those that hold the most first; return how many bytes are held then."""
        holders: list[tuple[int, Connection | NotUpgraded]] = [
            *self._hub.measure_each(),
            *self._application_hub.measure_each(),
        ]
        holders += [(one.held_size, one) for one in not_upgraded]
        for size, holder in sorted(holders, key=itemgetter(0), reverse=True):
            if held_size < most_size or not size:
                break
            peer = holder if isinstance(holder, Connection) else holder.transport
            peers.warning("%s holds %d bytes: too many now", peer, size)
            if isinstance(holder, Connection):
                held_size -= self._hub.shed(holder)
            else:
                self._hub.engine.limit_counters.count_by_name("memory_budget")
                holder.abort()
                held_size -= size
        return held_size
