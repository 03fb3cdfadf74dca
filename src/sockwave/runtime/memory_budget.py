"""Whether the connections together hold more memory than they may: the option `memory_budget`.

The bytes are counted in looks, as a sum kept at every change would cost each message something, and
whatever it got wrong would stay wrong.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import TypeAlias

from sockwave.core.opening.newcomer import PendingConnection
from sockwave.core.session.connection import Connection
from sockwave.core.session.hub import Hub
from sockwave.http import HttpConnection
from sockwave.log import peers

# Of the budget: from here on nobody is let in, and from here on who holds the most has to go.
CLOSED_PART = 0.90
SHED_PART = 0.95

# From one look to the next, and so much more for each so many connections: what looking costs stays
# under one per cent of the time, however many there are.
_LOOK_S = 0.1
_LOOK_COUNT = 10_000


#: A connection that is no WebSocket yet.
Guest: TypeAlias = PendingConnection | HttpConnection


class MemoryWatch:
    """Looks at what is held, and makes room.

    `opening` gives the connections whose handshake is under way, `guests` what is no WebSocket yet.
    """

    def __init__(
        self,
        hub: Hub,
        opening: Callable[[], Iterable[Connection]],
        guests: Callable[[], Sequence[Guest]],
    ) -> None:
        self._hub = hub
        self._opening = opening
        self._guests = guests
        self._timer: asyncio.TimerHandle | None = None

    def look(self) -> None:
        """Look now, and again later; nothing happens without a budget."""
        budget = self._hub.limits.memory_budget
        if budget is None:
            return
        # Before anything that may find no memory itself: a look that fails is not to be the last.
        guests = self._guests()
        count = len(self._hub.connections) + len(guests)
        delay_s = _LOOK_S * (1 + count // _LOOK_COUNT)
        self._timer = self._hub.engine.loop.call_later(delay_s, self.look)
        held_size = self._hub.measure(self._opening())
        held_size += sum(guest.held_size for guest in guests)
        if held_size >= SHED_PART * budget:
            held_size = self._shed(guests, held_size, int(SHED_PART * budget))
        self._hub.is_short = held_size >= CLOSED_PART * budget

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _shed(self, guests: Sequence[Guest], held_size: int, most_size: int) -> int:
        """Drop who holds the most, one after the other; give what is held then."""
        holders: list[tuple[int, Connection | Guest]] = [*self._hub.measure_each()]
        holders += [(guest.held_size, guest) for guest in guests]
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
