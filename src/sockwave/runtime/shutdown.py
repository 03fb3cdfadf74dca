"""How a server ends: everybody is told to go, one after the other, and who does not is dropped."""

import asyncio
import logging
import math
import random
import threading
from typing import TYPE_CHECKING

from sockwave.core.events.loop_thread import FORKED
from sockwave.core.session.connection import Connection
from sockwave.errors import SockwaveError
from sockwave.forking import watch_no_more
from sockwave.runtime.host import Host

if TYPE_CHECKING:
    from sockwave.runtime.selector import CoreSelector

logger = logging.getLogger("sockwave")

#: How long `close` waits for all of it by default, in seconds.
DRAIN_S = 30.0

# With jitter "auto": so many seconds at most, and no more than a hundred clients a second before
# that. Those who come back all at once are a burden to whoever serves them next; a few are none.
SPREAD_S = 10.0
PAUSE_S = 0.01

# At the end of `drain`, what is cancelled ends in the next turn, or after so long at most.
GRACE_S = 1.0

# Between two looks at whose turn it is: one timer for all of them.
TICK_S = 0.05


def check_times(drain: float | None, jitter: float | str) -> None:
    """Raise TypeError or ValueError for what `Server.close` cannot take."""
    for name, value, other in (("drain", drain, None), ("jitter", jitter, "auto")):
        if value == other:
            continue
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise TypeError(f"{name}: expected seconds or {other!r}, given {value!r}")
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name}: expected 0 or more seconds or {other!r}, given {value}")


class Shutdown:
    """The end of one server that runs."""

    def __init__(self, host: Host, selector: "CoreSelector | None") -> None:
        self.done = host.loop.create_future()
        self._has_begun = False
        self._host = host
        self._engine = host.engine
        self._selector = selector
        # Who is still to be told, in no order, and when, in seconds from the begin, the last first.
        self._left: list[Connection] = []
        self._turns: list[float] = []
        self._begun = 0.0
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._thread = threading.get_ident()
        self._is_finished = False
        self._has_patience = True

    def begin(self, code: int, reason: str, drain: float | None, jitter: float | str) -> None:
        """Tell everybody to go within `jitter` seconds, and drop the rest after `drain`.

        Until its turn, a connection goes on as before. Requests that are being answered are
        answered to the end.
        """
        if self._has_begun:
            return
        self._has_begun = True
        host, engine = self._host, self._engine
        engine.stop_listening()
        for pending in host.admission.pending_connections():
            pending.close()
        for http_connection in list(host.http_connections.values()):
            http_connection.close()
        for opening in list(host.openings.under_way):
            opening.give_up()
        self._draw_turns(jitter, drain)
        self._begun = host.loop.time()
        self._tell_some(code, reason)
        if drain is not None:
            self._timers["drain"] = host.loop.call_later(drain, self._abort_late, drain)
        engine.when_empty = self._look
        if not engine.transport_count:
            host.loop.call_soon(self._look)

    def abandon(self) -> None:
        """Come to the end in a forked child, where whoever waits for it here hears why."""
        for timer in self._timers.values():
            timer.cancel()
        if self._selector is not None:
            self._selector.detach()
        if self._thread == threading.get_ident() and not self.done.done():
            self.done.set_exception(SockwaveError(FORKED))
            self.done.exception()  # it need not be asked for

    def _draw_turns(self, jitter: float | str, drain: float | None) -> None:
        """Draw when each connection is told."""
        self._left = list(self._host.hub.connections)
        spread = (
            min(SPREAD_S, len(self._left) * PAUSE_S) if isinstance(jitter, str) else float(jitter)
        )
        if drain is not None:
            spread = min(spread, drain)
        random.shuffle(self._left)  # whose turn comes when is part of the jitter
        times = (random.uniform(0, spread) for _ in self._left)  # noqa: S311 - jitter, no secret
        self._turns = sorted(times, reverse=True)

    def _tell_some(self, code: int, reason: str) -> None:
        """Close those whose turn it is, and come back for the others."""
        passed = self._host.loop.time() - self._begun
        while self._turns and self._turns[-1] <= passed + TICK_S:
            self._turns.pop()
            self._left.pop().close(code, reason)
        if self._turns:
            tell_some = self._host.loop.call_later(TICK_S, self._tell_some, code, reason)
            self._timers["turn"] = tell_some

    def _abort_late(self, drain: float) -> None:
        if self._engine.transport_count:
            logger.warning(
                "%d connections had not gone after %g s, and are dropped",
                self._engine.transport_count,
                drain,
            )
        elif self._host.hub.call_count:
            logger.warning(
                "%d calls of listeners had not ended after %g s, and are cancelled",
                self._host.hub.call_count,
                drain,
            )
        self.abort_rest()

    def abort_rest(self) -> None:
        """Drop whoever is still there, with RST, and cancel what is still done for them."""
        host = self._host
        self._left, self._turns = [], []
        for connection in host.hub.connections:
            connection.abort()
        for http_connection in list(host.http_connections.values()):
            http_connection.transport.reset()
        for opening in list(host.openings.under_way):
            opening.transport.reset()
        self._engine.reset_waiting()
        host.hub.cancel_calls()
        self._timers["grace"] = host.loop.call_later(GRACE_S, self._give_up)

    def _give_up(self) -> None:
        """Wait no longer for what does not end when it is cancelled."""
        self._has_patience = False
        self._look()

    def _look(self) -> None:
        """Come to the end when nobody is there any more, and nothing is done for anybody."""
        host = self._host
        if self._engine.transport_count:
            return
        if host.hub.call_count and self._has_patience:
            host.hub.when_idle(lambda: host.loop.call_soon(self._look))
        else:
            self._finish()

    def _finish(self) -> None:
        """Come to the end."""
        host = self._host
        if self._is_finished:
            return
        self._is_finished = True
        for timer in self._timers.values():
            timer.cancel()
        self._engine.when_empty = None
        host.memory.stop()
        if self._selector is not None:
            self._selector.detach()
        host.calls = None
        self._engine.stop()
        watch_no_more(host)
        host.hub.when_idle(None)
        host.hub.begin_last_calls()
        try:
            self._engine.contexts.run(host.tell_closed)
        except BaseException:
            self._end()
            raise
        if host.hub.call_count:
            host.hub.when_idle(self._end)
        else:
            self._end()

    def _end(self) -> None:
        """Let those go on who wait for the end."""
        self._host.hub.when_idle(None)
        if not self.done.done():
            self.done.set_result(None)
