"""The server as the application sees it: its options, where it listens, how it runs and ends."""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Awaitable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from sockwave.close import encode_close
from sockwave.core.events.loop_thread import FORKED
from sockwave.core.events.waiter import DONE
from sockwave.errors import SockwaveError
from sockwave.listening.binding import set_user_timeout
from sockwave.listening.certificates import File
from sockwave.listening.listening import Door, Listening
from sockwave.listening.socket_activation import notify, take_inherited
from sockwave.options import Options
from sockwave.runtime.engine import create_engine, secure
from sockwave.runtime.loop import heard_signals, run_alone
from sockwave.runtime.shutdown import DRAIN_S, Shutdown, check_times
from sockwave.runtime.thread_calls import LoopEnded, ThreadCalls, ThreadFuture, handles_signal
from sockwave.server.audience import Audience
from sockwave.timeouts import Farewell

if TYPE_CHECKING:
    from ssl import SSLContext

    from sockwave.runtime.selector import CoreSelector

logger = logging.getLogger("sockwave")


class Server(Audience):
    """A WebSocket server, which is an HTTP server too.

    `create_server` and the class take the same options; see `sockwave.options`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(Options(**options))
        self._listening = Listening()
        self._shutdown: Shutdown | None = None
        self._selector: CoreSelector | None = None
        self._is_closing = False

    def __repr__(self) -> str:
        where = ", ".join(str(address) for address in self.addresses) or "nowhere"
        return f"<Server on {where}, {len(self.connections)} connected>"

    # ---- where it listens

    def listen(
        self,
        port: int = 0,
        host: str | None = None,
        *,
        path: str | os.PathLike[str] | None = None,
        mode: int | None = None,
        sock: socket.socket | None = None,
        ssl: "SSLContext | None" = None,
        reuse_port: bool = False,
    ) -> Self:
        """Listen on `port` of `host`, at once; may be called several times, for several addresses.

        Without a host it is all interfaces, and port 0 picks a port: see `addresses`. `path` is
        that of a Unix socket, and `mode` its permissions, such as 0o660; without it the process's
        umask decides. `sock` is a socket made elsewhere. Connections are accepted once the server
        runs.

        With `ssl`, an `ssl.SSLContext` of your own, the socket speaks TLS (RFC 8446) and nothing
        else: `wss` and `https`. ALPN, SNI callbacks and client certificates are as the context has
        them; one option is added to it, `ssl.OP_NO_RENEGOTIATION`. See `reload_tls`.

        With `reuse_port`, several processes of one user can listen on the same port, each of which
        asks for it (SO_REUSEPORT). Linux spreads new connections over them by a hash of both
        addresses; other systems may give all to one. Each process is a server of its own: limits,
        `connections` and `broadcast` are those of one. Where one ends, connections that wait to be
        accepted by it are reset, unless net.ipv4.tcp_migrate_req is on.

        Raises OSError, with the address in its message, when it cannot be had, or the system cannot
        share a port; ValueError for `reuse_port` with `path` or `sock`.
        """
        self._check_thread("server.listen")
        self._check_open()
        if sock is not None:
            if reuse_port:
                raise ValueError("reuse_port: expected with a port, not with sock")
            self._listening.adopt([sock], ssl)
        else:
            self._listening.bind(port, host, path, mode, ssl, reuse_port)
        return self._accept_new()

    def listen_fds(self, name: str | None = None, *, ssl: "SSLContext | None" = None) -> Self:
        """Listen on sockets that this process was started with: systemd's LISTEN_FDS.

        They outlive the process: clients that come during a restart wait, and are not turned away.
        `name` chooses those of one FileDescriptorName (LISTEN_FDNAMES). Each can be had once.

        Raises SockwaveError when there are none, ValueError for one that is no listening stream
        socket.
        """
        self._check_thread("server.listen_fds")
        self._check_open()
        self._listening.adopt(take_inherited(name), ssl)
        return self._accept_new()

    def _check_thread(self, call: str) -> None:
        """Raise SockwaveError where the server runs in another thread."""
        self._host.hub.thread.check_call(call)

    def _check_open(self) -> None:
        if self._host.is_abandoned:
            raise SockwaveError(FORKED)
        if self._is_closing:
            raise SockwaveError("the server has been closed: expected a new one")

    def _accept_new(self) -> Self:
        if self._host.is_running:
            self._host.hub.hold(self._accept_on(self._listening.take()))
        return self

    def reload_tls(self, cert: File | None = None, key: File | None = None) -> None:
        """Load a new certificate into every context that the server listens with.

        `cert` and `key` are files, as `ssl.SSLContext.load_cert_chain` takes them, whose key has no
        password; without them those of the last call are read again. New connections see the new
        certificate, the present ones go on. SIGHUP does the same under `run`, after one call with
        files. A certificate replaces the one with the same kind of key; contexts that an SNI
        callback chooses are the application's own to change.

        Raises OSError (ssl.SSLError is one) where the files are not right, SockwaveError where the
        server has no TLS or there are no files to read again; then the old one stays.
        """
        self._check_thread("server.reload_tls")
        self._listening.certificates.load(cert, key)

    @property
    def addresses(self) -> list[Any]:
        """Where it listens: (host, port) pairs, or the paths of Unix sockets."""
        return [] if self._is_closing else list(self._listening.addresses)

    # ---- running

    def run(self) -> None:
        """Run in a loop of its own until SIGINT or SIGTERM closes the server, or `close` does.

        A second signal drops who is still there. A service manager hears of the beginning and of
        the end (NOTIFY_SOCKET, as for systemd's Type=notify).

        Raises SockwaveError where a loop runs already: there it is `await serve_forever()`.
        """
        self._check_thread("server.run")
        run_alone(self._run, self.options)

    async def _run(self, selector: "CoreSelector | None") -> None:
        self._selector = selector
        listeners = {"SIGINT": self._interrupt, "SIGTERM": self._interrupt}
        if self._listening.certificates:
            listeners["SIGHUP"] = self._hang_up
        with heard_signals(listeners):
            await self.start()
            notify("READY=1")
            await self.serve_forever()

    def _interrupt(self) -> None:
        """Close at the first signal, drop everything at the second."""
        notify("STOPPING=1")
        if self._is_closing and self._shutdown is not None:
            self._shutdown.abort_rest()
        self.close()

    def _hang_up(self) -> None:
        """Read the certificate again, as a server does on SIGHUP."""
        try:
            self.reload_tls()
        except (OSError, SockwaveError) as error:
            logger.error("the certificate was not loaded again: %s", error)

    async def serve_forever(self) -> None:
        """Run in the present loop until the server is closed; when cancelled, close it."""
        await self.start()
        assert self._shutdown is not None
        try:
            await asyncio.shield(self._shutdown.done)
        except asyncio.CancelledError:
            await self.close()
            raise

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that it runs in. Other threads reach it by `call_threadsafe`.

        Raises SockwaveError before it runs.
        """
        if not self._host.is_running:
            self._check_open()
            raise SockwaveError("the server does not run yet: expected a look at its loop later")
        return self._host.loop

    async def start(self) -> None:
        """Accept connections from now on; nothing happens when it does so already.

        Raises SockwaveError when there is no address to listen on, or the server has been closed.
        """
        self._check_thread("server.start")
        if self._host.is_running:
            return
        self._check_open()
        if not self._listening.addresses:
            raise SockwaveError("there is nothing to serve: expected a call of listen() before")
        host, loop = self._host, asyncio.get_running_loop()
        engine = create_engine(
            self.options, loop, self._selector, host.complain, host.limit_counters
        )
        host.start(loop, engine)
        self._shutdown = Shutdown(host, self._selector)
        host.when_abandoned = self._shutdown.abandon
        if self._is_closing:  # from another thread, or a signal handler, that saw no end to begin
            self._begin_ending(1001, "", 0, 0)
        await self._accept_on(self._listening.take())
        # What listeners of `listening` have set is seen by all others.
        engine.contexts.renew()

    async def _accept_on(self, doors: list[Door]) -> None:
        engine = self._host.engine
        for one, context in doors:
            set_user_timeout(one, self.options.limits.write_timeout)
            make = None if context is None else secure(engine, context)
            await engine.listen(one, make)
        if self._is_closing:
            engine.stop_listening()
        else:
            self._host.emit_event("listening")

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    # ---- ending

    def close(
        self,
        code: int = 1001,
        reason: str = "",
        drain: float | None = DRAIN_S,
        jitter: float | str = "auto",
    ) -> "Awaitable[None] | ThreadFuture[None]":
        """Stop accepting, and close all connections with `code`; drop the rest after `drain`.

        The connections are closed at random times within `jitter` seconds, so that their clients
        do not all come back at once; until its turn, each goes on as before. "auto" is up to ten
        seconds: a hundredth of one for each connection. What was sent before leaves before the
        close frame, and `close_timeout` bounds the wait for the answer; messages that come
        meanwhile are dropped (RFC 6455, section 5.5.1). Requests that are being answered are
        answered to the end, and messages that came before are handled to theirs (`finish_timeout`).
        After `drain` seconds, which is never more than all of it takes, who is still there is
        reset, and what is still done for them is cancelled; with None there is no limit but each
        connection's own.

        Returns what is done when all that is over; it need not be awaited, and a listener or a
        handler that awaits it is not waited for. A second call changes nothing. It may be called
        from any thread, where it returns a `concurrent.futures.Future`, and from a signal handler;
        from there it begins in the loop's next turn.

        Raises TypeError or ValueError for a code or reason that cannot be sent, or times that are
        none, and SockwaveError where the loop has been closed before the server was.
        """
        encode_close(code, reason)
        check_times(drain, jitter)
        if self._host.is_abandoned:
            return self._closed_already()  # nothing of it is here
        is_first = not self._is_closing
        self._is_closing = True
        ending, calls = self._shutdown, self._host.calls
        if ending is None or calls is None:
            if ending is None and is_first:
                self._listening.end()
                self._host.tell_closed()
            return self._closed_already()
        is_here = self._host.hub.thread.is_here()
        if is_first:
            self._end_soon(calls, (code, reason, drain, jitter), is_here=is_here)
        if is_here:
            # Whoever gives up waiting gives up nothing else.
            return Farewell.shielding(ending.done, self._host.hub.excuse)
        return calls.call(self._wait_closed, ())

    def _closed_already(self) -> "Awaitable[None] | ThreadFuture[None]":
        """Give what is done: to a task, or to a thread without a loop."""
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop()
            return DONE
        done: ThreadFuture[None] = ThreadFuture()
        done.set_result(None)
        return done

    def _end_soon(self, calls: ThreadCalls, args: tuple[Any, ...], *, is_here: bool) -> None:
        """Begin the end: at once where that disturbs nothing, else in the loop's next turn."""
        loop = self._host.loop
        if loop.is_closed():
            self._listening.end()  # nothing is left that could do more than this
            self._host.engine.stop_listening()
            raise LoopEnded
        if is_here and not handles_signal():
            self._begin_ending(*args)
            # What is not known as a handler may have interrupted the loop's wait.
            loop.call_soon_threadsafe(int)
        else:
            calls.call(self._begin_ending, args)

    def _begin_ending(
        self, code: int, reason: str, drain: float | None, jitter: float | str
    ) -> None:
        assert self._shutdown is not None
        self._listening.end()
        self._shutdown.begin(code, reason, drain, jitter)

    async def _wait_closed(self) -> None:
        assert self._shutdown is not None
        try:
            await asyncio.shield(self._shutdown.done)
        except asyncio.CancelledError:
            if not self._shutdown.done.done():  # else the loop ends right behind the server
                raise
