"""The end of a server as the application sees it: how it begins, and who is told."""

import asyncio
import contextlib
import weakref
from collections.abc import Awaitable, Callable
from typing import Any, cast

from sockwave.close import encode_close
from sockwave.core.events.loop_thread import FORKED
from sockwave.core.events.waiter import DONE
from sockwave.errors import SockwaveError
from sockwave.listening.listening import Listening
from sockwave.listening.socket_activation import notify
from sockwave.options import Options
from sockwave.runtime.moment import Moment
from sockwave.runtime.shutdown import DRAIN_S, Shutdown, check_times
from sockwave.runtime.thread_calls import LoopEnded, ThreadCalls, ThreadFuture, handles_signal
from sockwave.server.audience import Audience
from sockwave.timeouts import ServerEnd

#: The servers of this process that have begun to run.
running: "weakref.WeakSet[Closing]" = weakref.WeakSet()


def find_running() -> "Closing":
    """Return the server that runs in this process; SockwaveError unless there is just one."""
    found = [server for server in running if server._host.takes_calls]
    if len(found) != 1:
        raise SockwaveError(
            f"expected one server that runs in this process, given {len(found)}: use server.publish"
        )
    return found[0]


class Closing(Audience):
    """The part of `Server` that ends it."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._listening = Listening()
        self._shutdown: Shutdown | None = None
        self._closing = Moment()
        self._closed = Moment()
        #: How long a signal lets connections go on; `sockwave serve` changes this.
        self._drain_s: float | None = DRAIN_S
        #: Called when the application, or a signal, begins the end of the server.
        self._when_closing: Callable[[], object] | None = None

    @property
    def _is_closing(self) -> bool:
        return self._closing.has_come

    def _check_open(self) -> None:
        if self._host.is_abandoned:
            raise SockwaveError(FORKED)
        if self._is_closing:
            raise SockwaveError("the server has been closed: expected a new one")

    def _check_thread(self, call: str) -> None:
        """Raise SockwaveError where the server runs in another thread."""
        self._host.hub.thread.check_call(call)

    # ---- who waits for it

    @property
    def is_closing(self) -> bool:
        """Whether `close` was called, by the application or for a signal; True for ever after."""
        return self._is_closing

    async def wait_closing(self) -> None:
        """Wait until the server begins to close, before its connections are closed.

        It is for what would go on for as long as the server does, such as a response that streams
        events: the end of the server waits for it. A server that has closed is closing, too. Tasks
        of any loop may wait, before the server runs as well.
        """
        await self._closing.wait()

    async def wait_closed(self) -> None:
        """Wait until the server has ended; this ends nothing itself.

        That is after the events `close` of all its connections, and its own. Like what `close`
        returns, it does not delay the end where a listener or handler of the server awaits it.
        """
        if self._shutdown is None or not self._has_run_in(asyncio.get_running_loop()):
            await self._closed.wait()
        else:
            await ServerEnd.shielding(self._shutdown.done, self._host.excuse)

    # ---- its end

    def close(
        self,
        code: int = 1001,
        reason: str = "",
        drain: float | None = DRAIN_S,
        jitter: float | str = "auto",
    ) -> "Awaitable[None] | ThreadFuture[None]":
        """Stop accepting, and close all connections with `code`; drop the rest after `drain`.

        The connections are closed at random times within `jitter` seconds, so that their clients do
        not all reconnect at once; until then, each goes on as before. "auto" is a hundredth of a
        second for each connection, ten seconds at most; from one second on, the reason is
        "retry=SECONDS" unless another is given. Messages sent before leave before the close
        frame, and `close_timeout` limits the wait for the client's close frame; messages that
        arrive meanwhile are dropped (RFC 6455, section 5.5.1). Requests that are being answered are
        answered to the end, and the application may finish handling messages that came before
        (`finish_timeout`). The server ends when all of this is done, after `drain` seconds at most:
        then the remaining connections are reset, and their listeners and handlers are
        cancelled. With None, only the limits of each connection apply.

        Returns an awaitable that is done when the server has ended. It need not be awaited; a
        listener or handler that awaits it does not delay the end. A second call changes nothing.
        It may be called from any thread, where it returns a `concurrent.futures.Future`, and from a
        signal handler; then the end begins in the loop's next turn.

        Raises TypeError or ValueError for a code or reason that cannot be sent, or invalid times,
        and SockwaveError if the loop has been closed before the server.
        """
        encode_close(code, reason)
        check_times(drain, jitter)
        if self._host.is_abandoned:
            return self._closed_already()  # in a forked child, which has no part of the server
        is_first = not self._is_closing
        self._closing.come()
        if is_first and self._when_closing is not None:
            self._when_closing()
        shutdown, calls = self._shutdown, self._host.calls
        if shutdown is None or calls is None:
            if shutdown is None and is_first:
                self._listening.close()
                self._host.emit_closing()
                self._host.emit_close()
                self._closed.come()
            return self._closed_already()
        is_here = self._host.hub.thread.is_current()
        if is_first:
            self._begin_shutdown_soon(calls, (code, reason, drain, jitter), is_here=is_here)
        if is_here:
            # Shielded: a task that is cancelled while it waits does not cancel the end.
            return ServerEnd.shielding(shutdown.done, self._host.excuse)
        # Where this thread is slow, the loop may have ended meanwhile, with the server.
        return calls.call(self._wait_closed, (), shutdown.done.done)

    def _closed_already(self) -> "Awaitable[None] | ThreadFuture[None]":
        """Return an awaitable that is done, or a done future in a thread without a loop."""
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop()
            return DONE
        done: ThreadFuture[None] = ThreadFuture()
        done.set_result(None)
        return done

    def _begin_shutdown_soon(
        self, calls: ThreadCalls, args: tuple[Any, ...], *, is_here: bool
    ) -> None:
        """Begin the end: at once in the loop's thread, else in the loop's next turn."""
        loop = self._host.loop
        if loop.is_closed():
            self._listening.close()  # no more is possible without a loop
            self._host.engine.stop_listening()
            raise LoopEnded
        if is_here and not handles_signal():
            self._begin_shutdown(*args)
            # Wake the loop: a signal handler that was not recognised may have interrupted its wait.
            loop.call_soon_threadsafe(int)
        else:
            calls.call(self._begin_shutdown, args)

    def _begin_shutdown(
        self, code: int, reason: str, drain: float | None, jitter: float | str
    ) -> None:
        assert self._shutdown is not None
        self._listening.close()
        self._host.engine.contexts.run(self._host.emit_closing)
        self._shutdown.begin(code, reason, drain, jitter)

    async def _wait_closed(self) -> None:
        assert self._shutdown is not None
        await asyncio.shield(self._shutdown.done)

    # ---- signals

    def _interrupt(self, name: str) -> None:
        """Close the servers of this loop at the first signal, drop all connections at the second.

        `name` is that of the signal.
        """
        notify("STOPPING=1")
        servers = set(self._find_neighbours())
        if self._shutdown is None:  # it has yet to start
            servers.add(self)
        fresh = [server for server in servers if not server._is_closing]
        for server in fresh:
            server._close_because(name, server._drain_s)
        for server in () if fresh else servers:
            server._drop()

    def _find_neighbours(self) -> "list[Closing]":
        """Return the servers of this loop that have not ended."""
        loop = asyncio.get_running_loop()
        return [server for server in running if server._is_alive_in(loop)]

    def _has_run_in(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Tell whether the server runs in a loop, or has run there."""
        return self._shutdown is not None and self._shutdown.done.get_loop() is loop

    def _is_alive_in(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Tell whether the server runs in a loop, and has not ended."""
        return self._has_run_in(loop) and not cast(Shutdown, self._shutdown).done.done()

    def _close_because(
        self, cause: str, drain_s: float | None
    ) -> "Awaitable[None] | ThreadFuture[None]":
        """Close because of a signal, or because its task is cancelled; the log tells the cause."""
        if self._shutdown is not None and not self._is_closing:
            self._shutdown.cause = cause
        return self.close(drain=drain_s)

    def _drop(self) -> None:
        """Close, without waiting for any connection."""
        if self._is_closing and self._shutdown is not None:
            self._shutdown.abort_rest()
        self.close(drain=0)
