"""The server as the application sees it: its options, where it listens, how it runs and ends."""

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from sockwave.asgi.application import ASGIApplication
from sockwave.brokers.urls import check_broker
from sockwave.core.session.connection import number_from
from sockwave.errors import LaunchError, SockwaveError
from sockwave.fields import HeaderPairs
from sockwave.http.folder_options import FolderOptions
from sockwave.listening.binding import order_port, set_user_timeout
from sockwave.listening.listening import ListeningSocket
from sockwave.listening.socket_activation import notify, take_inherited
from sockwave.listening.tls_check import File
from sockwave.option_types import ServerOptions
from sockwave.options import Options
from sockwave.runtime.engine import create_engine, tls_transport_factory
from sockwave.runtime.loop import run_in_own_loop
from sockwave.runtime.shutdown import Shutdown
from sockwave.runtime.signals import ENDING_NAMES, signal_handlers, taking_interrupts
from sockwave.runtime.topics import reach_hosts
from sockwave.server.closing import Closing, running
from sockwave.server.routing import Routing

if TYPE_CHECKING:
    from ssl import SSLContext

    from sockwave.workers.link import Link

logger = logging.getLogger("sockwave")


class Server(Routing, Closing):
    """A WebSocket server, which is an HTTP server too.

    `create_server` and the class take the same options; see `sockwave.options`.
    """

    #: Whether `sockwave serve` imports a module, whose servers it runs itself.
    _is_importing = False

    def __init__(self, **options: Unpack[ServerOptions]) -> None:
        super().__init__(Options(**options))
        #: Done when connections are accepted, or the start has failed.
        self._started: asyncio.Future[None] | None = None
        #: How `run` makes its loop; `sockwave serve` changes this.
        self._make_loop: Callable[[], asyncio.AbstractEventLoop] | None = None
        #: In a worker, what connects it with its supervisor; `place` tells which one it is.
        self._link: Link | None = None

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
        self._check_not_running("mount")
        self._host.applications.mount(prefix, application)
        return self

    def static(
        self,
        prefix: str,
        directory: str | os.PathLike[str],
        *,
        max_age: int | None = None,
        index: str | None = "index.html",
        hidden: bool = False,
        fallback: str | None = None,
        headers: HeaderPairs = (),
    ) -> Self:
        """Serve the files of a folder below `prefix`, to GET and HEAD: "/assets" has /assets/x.

        Prefixes are chosen as those of `mount`: the longest that fits counts, and comes before the
        listeners of `request`. WebSockets are not concerned. Nothing outside the folder is sent,
        and no symbolic link in it is followed. `directory` itself may be one, and is looked up for
        each request: a deployment can point it elsewhere.

        `max_age` is for how many seconds a client may use a file without asking whether it has
        changed; None: it asks each time, and gets a 304. `index` names the file that answers for a
        folder, None: there is none; it and the `fallback` are asked for each time. With
        `hidden=True`, names that begin with a dot are served, too. `fallback` is the path of a page
        in the folder that is sent, with 200, where there is no such file: applications of one page
        want that. `headers` are added to all answers, and override those of the files.

        Of a file, x.br, x.zst or x.gz is sent if it lies beside it, is not older, and the client
        accepts it.

        Raises OSError if the directory cannot be opened, TypeError or ValueError for a wrong
        option, or a prefix that is no path or is taken, SockwaveError if the server runs already.
        """
        self._check_not_running("static")
        options = FolderOptions(max_age, index, hidden, fallback, headers)
        self._host.applications.add_folder(prefix, directory, options)
        return self

    def _check_not_running(self, call: str) -> None:
        """Raise SockwaveError where it is too late for a call that says who takes requests."""
        self._check_thread(f"server.{call}")
        self._check_open()
        if self._host.is_running:
            raise SockwaveError(f"the server runs already: expected {call}() before its start")

    def client_script(self, path: str = "/sockwave.js") -> Self:
        """Serve the module for browsers at `path`: it speaks the subprotocol "sockwave.1".

        It connects and reconnects, subscribes and resumes, publishes, and knows who is there; see
        docs/sockwave.1.md. The option `subprotocol` has to hold "sockwave.1". Raises what `mount`
        raises.
        """
        from sockwave.topics.script import ClientScript

        return self.mount(path, ClientScript())

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
        r"""Listen on `port` of `host`, at once; may be called several times, for several addresses.

        Without a host it listens on all interfaces, as with "::", of IPv4 and IPv6; port 0 picks a
        port: see `addresses`. The host may come first, as `serve` and asyncio have it. `path` is
        that of a Unix socket, and `mode` its permissions, such as 0o660; without it the process's
        umask decides; a path that begins with "\0" is a name in Linux's abstract namespace. `sock`
        is a socket of the application's own. Connections are accepted once the server runs.

        With `ssl`, an `ssl.SSLContext` of your own, the socket speaks TLS (RFC 8446) only: `wss`
        and `https`. The context decides on ALPN, SNI callbacks and client certificates; one option
        is added to it, `ssl.OP_NO_RENEGOTIATION`. It has to have a certificate when the server
        starts: see `reload_tls`.

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
        if reuse_port:
            self._host.topics.reach.is_alone_among_others = True
        if sock is not None:
            if reuse_port:
                raise ValueError("reuse_port: expected with a port, not with sock")
            self._listening.adopt([sock], ssl)
        else:
            self._listening.bind(*order_port(port, host), path, mode, ssl, reuse_port)
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

    def _accept_new(self) -> Self:
        if self._host.is_running:
            self._listening.certificates.check()
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

    def run(
        self, *, workers: int | None = None, sequencer: str | os.PathLike[str] | None = None
    ) -> None:
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

        Beside the workers runs the sequencer, which puts in order what they publish. `sequencer` is
        the path of its Unix socket, for `Publisher`; without it, the path is one in a private
        directory, which only the workers know.

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
            if sequencer is not None:
                raise ValueError("sequencer: expected workers, too, as it orders what they publish")
            run_in_own_loop(self._run, self._make_loop)
        else:
            self._run_workers(workers, sequencer)

    def _run_workers(self, count: int, path: str | os.PathLike[str] | None) -> None:
        """Fork workers, and supervise them until the end."""
        from sockwave.server.working import check_can_fork, make_sequencer, supervise_forks

        check_can_fork(count)
        self._check_ready()
        sequencer = make_sequencer(path, self.options.limits)
        try:
            supervise_forks(self._listening, count, self._drain_s, self._run_as_worker, sequencer)
        finally:
            self._closing.come()
            self._listening.close()

    def _run_as_worker(self, link: "Link", *, max_requests: int | None = None) -> None:
        """Run as one of several workers, until the supervisor or the application ends it."""
        from sockwave.server.working import count_requests

        self._link = link
        # So that no other worker of the service has connections of the same ids.
        number_from((link.place.serial << 32) + 1)
        if max_requests is not None:
            count_requests(self._host, max_requests, link.tell_retiring)
        work = partial(self._work, link)
        run_in_own_loop(work, self._make_loop)

    async def _work(self, link: "Link") -> None:
        from sockwave.server.working import Retirement
        from sockwave.workers.link import Order

        retirement = Retirement(self._host, self._close_because, self._listening.waiting)
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
            await self._serve()
            link.leave()

    async def _run(self) -> None:
        handlers: dict[str, Callable[[], object]] = {
            name: partial(self._interrupt, name) for name in ENDING_NAMES
        }
        if self._listening.certificates:
            handlers["SIGHUP"] = self._reload_certificate
        with signal_handlers(handlers):
            await self.start()
            notify("READY=1")
            await self._serve()

    def _reload_certificate(self) -> None:
        """Read the certificate again, on SIGHUP; log an error if that fails."""
        try:
            self.reload_tls()
        except (OSError, SockwaveError) as error:
            logger.error("the certificate was not loaded again: %s", error)

    async def serve_forever(self, *, handle_signals: bool = True) -> None:
        """Run in the running loop until the server is closed; when cancelled, close it.

        Meanwhile SIGINT (Ctrl-C) and SIGTERM close all servers of this loop, and a second one drops
        their connections, so that the program goes on behind this call and ends with the status 0.
        A signal for which the program has set a handler is left to it; afterwards signals do again
        what they did before. With `handle_signals` False, and outside the main thread, no signal is
        touched.

        Returns at once where the server has closed already in this loop. Raises what `start`
        raises.
        """
        if not handle_signals:
            await self._serve()
            return
        with taking_interrupts(self._interrupt) as interrupts:
            await self._serve()
            if interrupts.have_come:  # it has closed the others of this loop, too
                for server in self._find_neighbours():
                    await server.wait_closed()

    async def _serve(self) -> None:
        """Run until the server has ended; when cancelled, close it."""
        if not (self._is_closing and self._has_run_in(asyncio.get_running_loop())):
            await self.start()
        assert self._shutdown is not None
        try:
            await asyncio.shield(self._shutdown.done)
        except asyncio.CancelledError:
            await self._close_because("cancelled", self._drain_s)
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
        if self._host.is_running and not self._is_closing:
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
        engine = create_engine(self.options, loop, host.receiver_failed, host.limit_counters)
        host.start(loop, engine)
        await self._join_workers()
        self._shutdown = Shutdown(host)
        self._shutdown.done.add_done_callback(lambda _: self._closed.come())
        host.when_abandoned = self._shutdown.abandon
        running.add(self)
        if self._is_closing:  # `close` came meanwhile, from another thread or a signal handler
            self._begin_shutdown(1001, "", 0, 0)
        await self._start_applications(self._shutdown)
        if not self._is_closing:
            await self._accept_on(self._listening.take())
        # All other listeners see the context variables that listeners of `listening` have set.
        engine.contexts.renew()

    def _use_broker(self, url: str) -> None:
        """Take a broker in place of the option's, before the start.

        Raises ValueError or ImportError as the option does, SockwaveError for topics that cannot be
        with one.
        """
        self.options.broker = check_broker(url)
        reach_hosts(self._host.topics, url, self.options.broker_down)

    async def _join_workers(self) -> None:
        """Share topics with the other workers, if there is a sequencer, and with other hosts."""
        path = None if self._link is None else self._link.place.sequencer
        if path is not None:
            await self._host.topics.reach.join_workers(path)
        else:
            await self._host.topics.reach.join_hosts()

    async def _start_applications(self, shutdown: Shutdown) -> None:
        """Run the startup of the ASGI applications; if one fails, end the server and raise."""
        try:
            await self._host.applications.start_lifespans()
        except BaseException:
            self._closing.come()
            self._begin_shutdown(1001, "", 0, 0)
            await asyncio.shield(shutdown.done)
            raise

    def _check_ready(self) -> None:
        """Raise SockwaveError unless the server can start."""
        self._check_open()
        if not self._listening.addresses:
            raise SockwaveError("there is nothing to serve: expected a call of listen() before")
        self._listening.certificates.check()

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
        cause = "cancelled" if kind is asyncio.CancelledError else "close"
        await self._close_because(cause, self._drain_s)
