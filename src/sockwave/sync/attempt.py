"""An attempt of the client to open a connection, driven by the thread that calls."""

import asyncio
import concurrent.futures
import socket
from collections.abc import Callable, Coroutine, Generator
from typing import Any

from sockwave.client import proxies as client_proxies
from sockwave.client.attempt import Attempt, Route
from sockwave.client.dialing import adopt
from sockwave.client.host import ClientHost
from sockwave.client.options import ClientOptions
from sockwave.client.proxies import find_proxy, split_proxy
from sockwave.client.topics.state import TopicState
from sockwave.client.uri import Uri
from sockwave.core.sync.connection import Connection
from sockwave.core.sync.session import ThreadSession
from sockwave.core.sync.shared_loop import Pause, SharedLoop
from sockwave.sync.dialing import Deadline, dial, dial_by_proxy, dial_path
from sockwave.sync.loops import find_loop, find_thread_host
from sockwave.sync.topic_session import TopicSession
from sockwave.sync.topics import TopicConnection


def open_connection(
    route: Route,
    options: ClientOptions,
    topics: TopicState | None,
    pause: Pause,
) -> Connection:
    """Open a connection, and wait in this thread until it is open.

    `topics` is what it goes on with that speaks `sockwave.1`. Raises what `connect` does, and
    SockwaveError where `pause` is ended.
    """
    shared = find_loop(options.engine)
    deadline = Deadline(options.open_timeout, pause)
    deadline.left()
    attempt = ThreadAttempt(route, options, deadline, topics)
    with shared:
        host = find_thread_host(shared, options).__enter__()
    try:
        session = _drive(attempt.run(host), shared, pause, deadline)
        assert isinstance(session, ThreadSession)
        return (
            TopicConnection(session) if isinstance(session, TopicSession) else Connection(session)
        )
    except Overdue:
        raise attempt.late_error() from None
    except BaseException:
        # The handler of a signal has raised: nobody would close what has just been opened.
        if attempt.opened is not None:
            shared.end_later(attempt.opened)
        raise
    finally:
        with shared:
            host.__exit__()


class Overdue(Exception):  # noqa: N818  (says what happened)
    """`open_timeout` is over."""


class Aside:
    """What an attempt awaits to have a function called while the loop's lock is free."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function = function
        self.arguments = arguments

    def __await__(self) -> Generator["Aside", Any, Any]:
        return (yield self)


class ThreadAttempt(Attempt):
    """An attempt whose sockets are connected in the thread that calls."""

    def __init__(
        self,
        route: Route,
        options: ClientOptions,
        deadline: Deadline,
        topics: TopicState | None,
    ) -> None:
        super().__init__(route, options, topics)
        self._deadline = deadline
        #: The connection, from the moment at which it is open.
        self.opened: ThreadSession | None = None

    async def run(self, host: ClientHost) -> ThreadSession:
        """Connect, and shake hands; follow redirects."""
        opened = await super().run(host)
        assert isinstance(opened, ThreadSession)
        self.opened = opened
        return opened

    async def dial(self, uri: Uri) -> socket.socket:
        """Return a socket that is connected."""
        sock: socket.socket = await Aside(self._dial_here, uri)
        return sock

    def _dial_here(self, uri: Uri) -> socket.socket:
        write_timeout = self._options.limits.write_timeout
        if self._route.sock is not None:
            return adopt(self._route.sock, write_timeout)
        if self._route.path is not None:
            return dial_path(self._route.path, self._deadline)
        proxy = find_proxy(self._route.proxy, uri)
        if proxy is not None and split_proxy(proxy).scheme == "https":
            return self._dial_in_tls(proxy, uri)
        if proxy is not None:
            return dial_by_proxy(proxy, uri, write_timeout, self._deadline)
        return dial(uri.host, uri.port, write_timeout, self._deadline)

    def _dial_in_tls(self, proxy: str, uri: Uri) -> socket.socket:
        """Have the thread with asyncio's loop connect, and pass on what goes through the tunnel."""
        loop = find_loop("asyncio").loop
        write_timeout = self._options.limits.write_timeout
        dialing = client_proxies.dial_by_proxy(proxy, uri, write_timeout, self._route.proxy_ssl)
        future = asyncio.run_coroutine_threadsafe(dialing, loop)
        try:
            while not future.done():
                concurrent.futures.wait([future], self._deadline.next_wait())
            return future.result()
        except BaseException:
            future.cancel()
            raise


def _drive(
    coroutine: Coroutine[Any, Any, object], shared: SharedLoop, pause: Pause, deadline: Deadline
) -> object:
    """Run a coroutine, and wait in this thread for what it awaits. Raises Overdue."""
    value: object = None
    error: BaseException | None = None
    while True:
        try:
            if error is None:
                awaited = shared.call(coroutine.send, value)
            else:
                awaited = shared.call(coroutine.throw, error)
        except StopIteration as done:
            return done.value
        except asyncio.CancelledError:
            raise Overdue from None
        value, error = None, None
        try:
            if isinstance(awaited, Aside):
                value = awaited.function(*awaited.arguments)
            else:
                while not awaited.done():
                    pause.wait(deadline.next_wait(), awaited)
        except TimeoutError as late:
            error = asyncio.CancelledError() if deadline.is_over else late
        except BaseException as failure:
            error = failure
