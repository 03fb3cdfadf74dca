"""The server as the application sees it: its options, how it starts, runs and ends."""

import asyncio
import os
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self, Unpack

from sockwave.brokers.urls import check_broker
from sockwave.core.session.connection import number_from
from sockwave.errors import LaunchError, SockwaveError
from sockwave.listening.socket_activation import notify
from sockwave.option_types import ServerOptions
from sockwave.options import Options
from sockwave.runtime.engine import create_engine
from sockwave.runtime.loop import run_in_own_loop
from sockwave.runtime.shutdown import Shutdown
from sockwave.runtime.signals import ENDING_NAMES, signal_handlers, taking_interrupts
from sockwave.runtime.topics import reach_hosts
from sockwave.server.addresses import Addresses
from sockwave.server.closing import running
from sockwave.server.mounting import Mounting
from sockwave.server.routing import Routing

if TYPE_CHECKING:
    from sockwave.workers.link import Link


class Server(Routing, Mounting, Addresses):
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
