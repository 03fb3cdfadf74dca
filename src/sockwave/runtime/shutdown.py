"""The end of a server: it closes its connections one after the other, and then drops the rest."""

import asyncio
import logging
import math
import random
import threading

from sockwave.close import CloseCode
from sockwave.core.events.loop_thread import FORKED
from sockwave.core.session.connection import Connection
from sockwave.errors import SockwaveError
from sockwave.forking import unwatch_forks
from sockwave.runtime.host import Host

logger = logging.getLogger("sockwave")

#: How long `close` waits by default before it drops the remaining connections, in seconds.
DRAIN_S = 30.0

# With jitter "auto", connections are closed over at most SPREAD_S seconds, or PAUSE_S for each if
# that is less. Clients that reconnect all at once are a burden to the next server; a few are none.
SPREAD_S = 10.0
PAUSE_S = 0.01

# A server that has not ended after so many seconds says what it waits for.
NOTICE_S = 0.5

# Why a server ends -> whether a person waits for it, and what more a person can do. Where Ctrl-C
# has cancelled the program's task, `asyncio.run` itself ends at once at the second one.
CAUSES = {
    "SIGINT": (logging.WARNING, "; Ctrl-C once more ends at once"),
    "SIGTERM": (logging.INFO, "; a second signal ends at once"),
    "cancelled": (logging.WARNING, ""),
    "close": (logging.INFO, ""),
}

# After `drain`, calls of listeners are cancelled; the server waits for them at most so long.
GRACE_S = 1.0

# The interval at which due connections are closed: one timer for all of them.
TICK_S = 0.05


def check_times(drain: float | None, jitter: float | str) -> None:
    """Raise TypeError or ValueError unless `Server.close` can take these values."""
    for name, value, other in (("drain", drain, None), ("jitter", jitter, "auto")):
        if value == other:
            continue
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise TypeError(f"{name}: expected seconds or {other!r}, given {value!r}")
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name}: expected 0 or more seconds or {other!r}, given {value}")


#: How much of the drain the last clients have to answer the close frame.
ANSWER_SHARE = 0.1


class Shutdown:
    """The end of one running server; `done` is its future."""

    def __init__(self, host: Host) -> None:
        self.done = host.loop.create_future()
        self._has_begun = False
        self._host = host
        self._engine = host.engine
        # The connections that are still to be closed, in random order, and the times for that, in
        # seconds after `_begun`, the latest first.
        self._remaining: list[Connection] = []
        self._close_times: list[float] = []
        self._begun = 0.0
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._thread = threading.get_ident()
        self._is_finished = False
        self._waits_for_calls = True
        #: Why it ends: a key of CAUSES.
        self.cause = "close"

    def begin(self, code: int, reason: str, drain: float | None, jitter: float | str) -> None:
        """Close all connections within `jitter` seconds, and drop the rest after `drain`.

        Until it is closed, a connection goes on as before. Requests that are being answered are
        answered to the end.
        """
        if self._has_begun:
            return
        self._has_begun = True
        host, engine = self._host, self._engine
        engine.stop_listening()
        for pending in host.admission.pending_connections():
            pending.close()
        for http_connection in list(host.http.connections):
            http_connection.close()
        for opening in list(host.openings.under_way):
            opening.cancel()
        spread_s = self._draw_close_times(jitter, drain)
        if code == CloseCode.GOING_AWAY and not reason and spread_s >= 1:
            reason = f"retry={math.ceil(spread_s)}"  # a client waits a random part of that
        self._begun = host.loop.time()
        self._close_due(code, reason)
        if drain is not None:
            self._timers["drain"] = host.loop.call_later(drain, self._abort_late, drain)
        self._timers["notice"] = host.loop.call_later(NOTICE_S, self._tell_waiting, drain)
        engine.when_empty = self._finish_if_idle
        if not engine.transport_count:
            host.loop.call_soon(self._finish_if_idle)

    def abandon(self) -> None:
        """In a forked child, end without closing anything, and fail the future `done`."""
        for timer in self._timers.values():
            timer.cancel()
        if self._thread == threading.get_ident() and not self.done.done():
            self.done.set_exception(SockwaveError(FORKED))
            self.done.exception()  # so that asyncio does not log it as never retrieved

    def _draw_close_times(self, jitter: float | str, drain: float | None) -> float:
        """Draw a random time at which each connection is closed; return the longest possible."""
        host = self._host
        self._remaining = [*host.hub.connections, *host.applications.connections]
        if isinstance(jitter, str):
            spread = min(SPREAD_S, len(self._remaining) * PAUSE_S)
        else:
            spread = float(jitter)
        if drain is not None:
            spread = min(spread, (1 - ANSWER_SHARE) * drain)
        random.shuffle(self._remaining)  # the order is part of the jitter
        count = len(self._remaining)
        times = (random.uniform(0, spread) for _ in range(count))  # noqa: S311 - jitter, no secret
        self._close_times = sorted(times, reverse=True)
        return spread

    def _close_due(self, code: int, reason: str) -> None:
        """Close the connections whose time has come, and set a timer for the others."""
        passed = self._host.loop.time() - self._begun
        while self._close_times and self._close_times[-1] <= passed + TICK_S:
            self._close_times.pop()
            self._remaining.pop().close(code, reason)
        if self._close_times:
            timer = self._host.loop.call_later(TICK_S, self._close_due, code, reason)
            self._timers["close"] = timer

    def _tell_waiting(self, drain: float | None) -> None:
        """Say who is waited for, for how long, and what ends it at once."""
        level, hint = CAUSES[self.cause]
        most = "without a limit" if drain is None else f"{drain:g} s at most"
        logger.log(level, "%s: waiting for %s, %s%s", self.cause, self._describe_rest(), most, hint)

    def _describe_rest(self) -> str:
        """Say what the end waits for, with numbers."""
        request_count = len(self._host.http.connections)
        counts = {
            "connection": max(self._engine.transport_count - request_count, 0),
            "request": request_count,
            "task": self._host.call_count,
        }
        rest = [
            f"{count} {noun}{'s' if count > 1 else ''}" for noun, count in counts.items() if count
        ]
        *most, last = rest or ["the shutdown of its applications"]
        return f"{', '.join(most)} and {last}" if most else last

    def _abort_late(self, drain: float) -> None:
        if self._engine.transport_count:
            logger.warning(
                "%d connections had not gone after %g s, and are dropped",
                self._engine.transport_count,
                drain,
            )
        elif self._host.call_count:
            logger.warning(
                "%d calls of the application had not ended after %g s, and are cancelled",
                self._host.call_count,
                drain,
            )
        self.abort_rest()

    def abort_rest(self) -> None:
        """Reset the remaining connections, and cancel the calls of listeners that still run."""
        host = self._host
        if "notice" in self._timers:
            self._timers["notice"].cancel()
        self._remaining, self._close_times = [], []
        for connection in (*host.hub.connections, *host.applications.connections):
            connection.abort()
        for http_connection in list(host.http.connections):
            http_connection.reset()
        for opening in list(host.openings.under_way):
            opening.transport.reset()
        self._engine.reset_waiting()
        host.cancel_calls()
        self._timers["grace"] = host.loop.call_later(GRACE_S, self._ignore_calls)

    def _ignore_calls(self) -> None:
        """Stop waiting for calls that do not end although they were cancelled."""
        self._waits_for_calls = False
        self._finish_if_idle()

    def _finish_if_idle(self) -> None:
        """Finish if there are no more connections and no calls of listeners to wait for."""
        host = self._host
        if self._engine.transport_count:
            return
        if host.call_count and self._waits_for_calls:
            host.when_idle(lambda: host.loop.call_soon(self._finish_if_idle))
            return
        if not host.applications.end_lifespans(self._finish):
            self._finish()
        elif "drain" in self._timers:
            self._timers["drain"].cancel()  # a shutdown has a time of its own: `finish_timeout`

    def _finish(self) -> None:
        """Stop the engine, and emit `close`."""
        host = self._host
        if self._is_finished:
            return
        self._is_finished = True
        for timer in self._timers.values():
            timer.cancel()
        self._engine.when_empty = None
        host.memory.stop()
        host.calls = None
        self._engine.stop()
        unwatch_forks(host)
        host.when_idle(None)
        host.hub.begin_last_calls()
        try:
            self._engine.contexts.run(host.emit_close)
        except BaseException:
            self._end()
            raise
        if host.hub.call_count:
            host.hub.when_idle(self._end)
        else:
            self._end()

    def _end(self) -> None:
        """Wake the tasks that wait for the end."""
        self._host.hub.when_idle(None)
        if not self.done.done():
            self.done.set_result(None)
