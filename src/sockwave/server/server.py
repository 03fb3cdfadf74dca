"""The server as the application sees it: its options, where it listens, how it runs and ends."""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from sockwave.asgi.application import ASGIApplication
from sockwave.close import encode_close
from sockwave.core.events.loop_thread import FORKED
from sockwave.core.events.waiter import DONE
from sockwave.errors import LaunchError, SockwaveError
from sockwave.listening.binding import set_user_timeout
from sockwave.listening.certificates import File
from sockwave.listening.listening import Listening, ListeningSocket
from sockwave.listening.socket_activation import notify, take_inherited
from sockwave.options import Options
from sockwave.runtime.engine import create_engine, tls_transport_factory
from sockwave.runtime.loop import run_in_own_loop, signal_handlers
from sockwave.runtime.shutdown import DRAIN_S, Shutdown, check_times
from sockwave.runtime.thread_calls import LoopEnded, ThreadCalls, ThreadFuture, handles_signal
from sockwave.server.audience import Audience
from sockwave.timeouts import ServerEnd

if TYPE_CHECKING:
    from ssl import SSLContext

    from sockwave.runtime.selector import CoreSelector
    from sockwave.workers.link import Link

logger = logging.getLogger("sockwave")


class Server(Audience):
    """A WebSocket server, which is an HTTP server too.

    `create_server` and the class take the same options; see `sockwave.options`.
    """

    #: Whether `sockwave serve` imports a module, whose servers it runs itself.
    _is_importing = False

    def __init__(self, **options: Any) -> None:
        super().__init__(Options(**options))
        self._listening = Listening()
        self._shutdown: Shutdown | None = None
        self._selector: CoreSelector | None = None
        self._is_closing = False
        #: Done when connections are accepted, or the start has failed.
        self._started: asyncio.Future[None] | None = None
        # How `run` runs it, and how a signal ends it; `sockwave serve` and `run` change these.
        self._make_loop: Callable[[], asyncio.AbstractEventLoop] | None = None
        self._drain_s: float | None = DRAIN_S
        #: In a worker, what connects it with its supervisor; `place` tells which one it is.
        self._link: Link | None = None
        #: Called when the application, or a signal, begins the end of the server.
        self._when_closing: Callable[[], object] | None = None

    def __repr__(self) -> str:
        where = ", ".join(str(address) for address in self.addresses) or "nowhere"
        return f"<Server on {where}, {len(self.connections)} connected>"

    # ---- what it serves

    def mount(self, prefix: str, application: ASGIApplication) -> Self:
        """Let an ASGI application take all requests and WebSockets below `prefix`, and at it.

        "/api" takes /api and /api/x, not /apix; of several prefixes, the longest that fits counts.
        The application gets the prefix as the end of `root_path`. What is mounted comes before
        listeners of `request` and `connection`, and these before the application of the option
        `asgi`.

        Raises TypeError for what is no ASGI 3 application, TypeError or ValueError for a prefix
        that is no path or is taken, SockwaveError if the server runs already.
        """
        self._check_thread("server.mount")
        self._check_open()
        if self._host.is_running:
            raise SockwaveError("the server runs already: expected mount() before its start")
        self._host.applications.mount(prefix, application)
        return self

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

        Without a host it listens on all interfaces, and port 0 picks a port: see `addresses`.
        `path` is that of a Unix socket, and `mode` its permissions, such as 0o660; without it the
        process's umask decides. `sock` is a socket of the application's own. Connections are
        accepted once the server runs.

        With `ssl`, an `ssl.SSLContext` of your own, the socket speaks TLS (RFC 8446) only: `wss`
        and `https`. The context decides on ALPN, SNI callbacks and client certificates; one option
        is added to it, `ssl.OP_NO_RENEGOTIATION`. See `reload_tls`.

        With `reuse_port` (SO_REUSEPORT), several processes of one user can listen on the same port,
        if each of them uses the option. Linux spreads new connections over them by a hash of both
        addresses; other systems may give all to one. Each process is a server of its own: limits,
        `connections` and `broadcast` are per process. When one ends, connections that wait to be
        accepted by it are reset, unless net.ipv4.tcp_migrate_req is on.

        Raises OSError, with the address in its message, if the address cannot be bound or the
        system cannot share a port; ValueError for `reuse_port` with `path` or `sock`.
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

        They outlive the process: clients that connect during a restart wait, and are not refused.
        `name` chooses those of one FileDescriptorName (LISTEN_FDNAMES). Each can be taken once.

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
            self._host.hub.start_task(self._accept_on(self._listening.take()))
        return self

    def reload_tls(
        self, cert: File | None = None, key: File | None = None, password: str | None = None
    ) -> None:
        """Load a new certificate into every context that the server listens with.

        `cert` and `key` are files, as `ssl.SSLContext.load_cert_chain` takes them, and `password`
        that of the key; without them those of the last call are read again. New connections get the
        new certificate; existing ones go on. Under `run`, SIGHUP reads the last call's files again.
        A certificate replaces the one with the same kind of key; the application itself changes
        contexts that an SNI callback chooses.

        Raises OSError (ssl.SSLError is one) if the files cannot be loaded, SockwaveError if the
        server has no TLS or there are no files to read again; then the old certificate stays.
        """
        self._check_thread("server.reload_tls")
        self._listening.certificates.load(cert, key, password)

    @property
    def addresses(self) -> list[Any]:
        """The addresses that it listens on: (host, port) pairs, or the paths of Unix sockets."""
        return [] if self._is_closing else list(self._listening.addresses)

    # ---- running

    def run(self, *, workers: int | None = None) -> None:
        """Run in a loop of its own until SIGINT or SIGTERM closes the server, or `close` does.

        A second signal drops the remaining connections. A service manager is notified of the start
        and of the end (NOTIFY_SOCKET, as for systemd's Type=notify).

        With `workers`, this process becomes the supervisor of so many processes, forked from it,
        that serve the same addresses, each in a loop of its own (not on Windows). It replaces a
        worker that dies, and at SIGHUP all of them, new ones first; SIGTTIN and SIGTTOU add and
        remove one. As they are copies of this process, SIGHUP brings no new code: it only reads the
        files of the last `reload_tls` again; for new code there is `sockwave serve`. `close` in a
        worker ends them all, and `run` returns in this process alone. A port that `listen` has
        bound is bound once more for each worker.

        Raises SockwaveError if a loop runs already: use `await serve_forever()` there; with
        `workers` also if there is any loop or thread, which a fork would break, outside the main
        thread, and when the workers could not start. ValueError for fewer than one.
        """
        self._check_thread("server.run")
        if Server._is_importing:
            raise LaunchError(
                "`sockwave serve` runs the server that it imports: expected server.run() under "
                "`if __name__ == '__main__':`"
            )
        if workers is None:
            run_in_own_loop(self._run, self.options, self._make_loop)
        else:
            self._run_workers(workers)

    def _run_workers(self, count: int) -> None:
        """Fork workers, and supervise them until the end."""
        from sockwave.server.working import check_can_fork, supervise_forks

        check_can_fork(count)
        self._check_ready()
        try:
            supervise_forks(self._listening, count, self._drain_s, self._run_as_worker)
        finally:
            self._is_closing = True
            self._listening.close()

    def _run_as_worker(self, link: "Link", *, max_requests: int | None = None) -> None:
        """Run as one of several workers, until the supervisor or the application ends it."""
        from sockwave.server.working import count_requests

        self._link = link
        if max_requests is not None:
            count_requests(self._host, max_requests, link.tell_retiring)
        work = partial(self._work, link)
        run_in_own_loop(work, self.options, self._make_loop)

    async def _work(self, link: "Link", selector: "CoreSelector | None") -> None:
        from sockwave.server.working import Retirement
        from sockwave.workers.link import Order

        self._selector = selector
        retirement = Retirement(self._host, self.close, self._listening.waiting)
        order = Order(is_last=True, drain_s=self._drain_s)

        def terminate() -> None:
            """End as the supervisor would have it, which shall start another in this place."""
            link.tell_retiring()
            link.order_to_end(order)

        self._when_closing = link.tell_closing
        if self._listening.certificates.has_files:
            self._reload_certificate()  # a fork has those that its parent has read
        loop = asyncio.get_running_loop()
        with signal_handlers({"SIGTERM": terminate}):
            link.attend(loop, drain=retirement.begin, drop=self._drop, when_orphaned=order)
            await self.start()
            link.tell_ready()
            await self.serve_forever()
            link.leave()

    async def _run(self, selector: "CoreSelector | None") -> None:
        self._selector = selector
        handlers = {"SIGINT": self._interrupt, "SIGTERM": self._interrupt}
        if self._listening.certificates:
            handlers["SIGHUP"] = self._reload_certificate
        with signal_handlers(handlers):
            await self.start()
            notify("READY=1")
            await self.serve_forever()

    def _interrupt(self) -> None:
        """Close at the first signal, drop all connections at the second."""
        notify("STOPPING=1")
        if self._is_closing:
            self._drop()
        else:
            self.close(drain=self._drain_s)

    def _drop(self) -> None:
        """Close, without waiting for any connection."""
        if self._is_closing and self._shutdown is not None:
            self._shutdown.abort_rest()
        self.close(drain=0)

    def _reload_certificate(self) -> None:
        """Read the certificate again, on SIGHUP; log an error if that fails."""
        try:
            self.reload_tls()
        except (OSError, SockwaveError) as error:
            logger.error("the certificate was not loaded again: %s", error)

    async def serve_forever(self) -> None:
        """Run in the running loop until the server is closed; when cancelled, close it."""
        await self.start()
        assert self._shutdown is not None
        try:
            await asyncio.shield(self._shutdown.done)
        except asyncio.CancelledError:
            await self.close()
            raise

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that the server runs in. Other threads reach it by `call_threadsafe`.

        Raises SockwaveError before it runs.
        """
        if not self._host.is_running:
            self._check_open()
            raise SockwaveError("the server does not run yet: expected a look at its loop later")
        return self._host.loop

    async def start(self) -> None:
        """Begin to accept connections, behind the startup of ASGI applications.

        If the server runs already, this does nothing but wait until it accepts. Raises
        SockwaveError when there is no address to listen on, or the server has been closed, and what
        an application's startup fails with: the server has ended then.
        """
        self._check_thread("server.start")
        if self._host.is_running:
            if self._started is not None:
                await asyncio.shield(self._started)
            return
        self._check_ready()
        self._started = asyncio.get_running_loop().create_future()
        try:
            await self._begin()
        except BaseException as error:
            self._started.set_exception(error)
            self._started.exception()  # so that asyncio does not log it as never retrieved
            raise
        self._started.set_result(None)

    async def _begin(self) -> None:
        host, loop = self._host, asyncio.get_running_loop()
        engine = create_engine(
            self.options, loop, self._selector, host.receiver_failed, host.limit_counters
        )
        host.start(loop, engine)
        self._shutdown = Shutdown(host, self._selector)
        host.when_abandoned = self._shutdown.abandon
        if self._is_closing:  # `close` came meanwhile, from another thread or a signal handler
            self._begin_shutdown(1001, "", 0, 0)
        await self._start_applications(self._shutdown)
        if not self._is_closing:
            await self._accept_on(self._listening.take())
        # All other listeners see the context variables that listeners of `listening` have set.
        engine.contexts.renew()

    async def _start_applications(self, shutdown: Shutdown) -> None:
        """Run the startup of the ASGI applications; if one fails, end the server and raise."""
        try:
            await self._host.applications.start_lifespans()
        except BaseException:
            self._is_closing = True
            self._begin_shutdown(1001, "", 0, 0)
            await asyncio.shield(shutdown.done)
            raise

    def _check_ready(self) -> None:
        """Raise SockwaveError unless the server can start."""
        self._check_open()
        if not self._listening.addresses:
            raise SockwaveError("there is nothing to serve: expected a call of listen() before")

    async def _accept_on(self, sockets: list[ListeningSocket]) -> None:
        engine = self._host.engine
        for one, context in sockets:
            set_user_timeout(one, self.options.limits.write_timeout)
            make = None if context is None else tls_transport_factory(engine, context)
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

        The connections are closed at random times within `jitter` seconds, so that their clients do
        not all reconnect at once; until then, each goes on as before. "auto" is a hundredth of a
        second for each connection, ten seconds at most. Messages sent before leave before the close
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
        self._is_closing = True
        if is_first and self._when_closing is not None:
            self._when_closing()
        shutdown, calls = self._shutdown, self._host.calls
        if shutdown is None or calls is None:
            if shutdown is None and is_first:
                self._listening.close()
                self._host.emit_close()
            return self._closed_already()
        is_here = self._host.hub.thread.is_current()
        if is_first:
            self._begin_shutdown_soon(calls, (code, reason, drain, jitter), is_here=is_here)
        if is_here:
            # Shielded: a task that is cancelled while it waits does not cancel the end.
            return ServerEnd.shielding(shutdown.done, self._host.excuse)
        return calls.call(self._wait_closed, ())

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
        self._shutdown.begin(code, reason, drain, jitter)

    async def _wait_closed(self) -> None:
        assert self._shutdown is not None
        try:
            await asyncio.shield(self._shutdown.done)
        except asyncio.CancelledError:
            if not self._shutdown.done.done():  # else the loop itself ends, after the server
                raise
