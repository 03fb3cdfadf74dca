"""`sockwave.sync.connect`: an attempt of the client, driven by the thread that calls."""

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Coroutine, Generator, Iterable
from typing import Any, overload

from sockwave.client import proxies as client_proxies
from sockwave.client.attempt import Attempt, Route
from sockwave.client.connecting import TopicNames
from sockwave.client.dialing import adopt
from sockwave.client.host import ClientHost
from sockwave.client.options import ClientOptions
from sockwave.client.proxies import ProxyOption, check_proxy, find_proxy, split_proxy
from sockwave.client.topics.state import TopicState
from sockwave.client.topics.subprotocol import NAME
from sockwave.client.uri import Uri, parse_uri
from sockwave.core.sync.connection import Connection
from sockwave.core.sync.session import ThreadSession
from sockwave.core.sync.shared_loop import SharedLoop
from sockwave.sync.dialing import Deadline, dial, dial_by_proxy, dial_path
from sockwave.sync.loops import check_may_wait, find_loop, find_thread_host
from sockwave.sync.topic_session import TopicSession
from sockwave.sync.topics import TopicConnection


@overload
def connect(
    uri: str,
    *,
    subprotocol: TopicNames,
    resume: TopicConnection | None = None,
    path: str | os.PathLike[str] | None = None,
    sock: socket.socket | None = None,
    proxy: ProxyOption = True,
    proxy_ssl: ssl.SSLContext | None = None,
    **options: Any,
) -> TopicConnection: ...
@overload
def connect(
    uri: str,
    *,
    subprotocol: str | Iterable[str] | None = None,
    path: str | os.PathLike[str] | None = None,
    sock: socket.socket | None = None,
    proxy: ProxyOption = True,
    proxy_ssl: ssl.SSLContext | None = None,
    **options: Any,
) -> Connection: ...
def connect(
    uri: str,
    *,
    subprotocol: str | Iterable[str] | None = None,
    resume: TopicConnection | None = None,
    path: str | os.PathLike[str] | None = None,
    sock: socket.socket | None = None,
    proxy: ProxyOption = True,
    proxy_ssl: ssl.SSLContext | None = None,
    **options: Any,
) -> Connection:
    """Connect to a WebSocket server, and wait until the connection is open.

    `with sockwave.sync.connect(uri) as conn` closes the connection at the end of the block.

    With `subprotocol="sockwave.1"` it gives a `TopicConnection`, which hears topics. `resume` is
    one that has ended: the new one subscribes to the same topics from the last delivery that was
    taken, and sends again what was published and not acknowledged. Where the attempt fails, the
    next one may be given the same `resume`. None: it goes on with nothing.

    The other options are those of `sockwave.connect`, but for `backoff`. Any thread may use the
    connection; one thread of the process answers pings while no thread is in a call.

    Raises what `sockwave.connect` raises, and SockwaveError where the thread must not wait: in a
    function that a connection calls itself, such as `conflate`; and for a `resume` that is open, or
    that another connection has gone on from.
    """
    route = Route(parse_uri(uri), path, sock, check_proxy(proxy), proxy_ssl)
    checked = ClientOptions(subprotocol=subprotocol, **options)
    route.check_context(checked.ssl)
    has_topics = NAME in checked.subprotocols
    if resume is not None and not isinstance(resume, TopicConnection):
        given = type(resume).__name__
        raise TypeError(f"resume: expected a sync.TopicConnection or None, given {given}")
    if resume is not None and not has_topics:
        raise TypeError(f"resume: expected with subprotocol={NAME!r}, given without it")
    check_may_wait("connect")
    if resume is None:
        topics = TopicState(checked.limits) if has_topics else None
        return _connect(route, checked, topics)
    topics = resume._begin_resuming()
    try:
        topics.limits = checked.limits
        return _connect(route, checked, topics)
    except BaseException:
        resume._give_up_resuming()
        raise


def _connect(route: Route, options: ClientOptions, topics: TopicState | None) -> Connection:
    """Connect, with topics to go on with where the server speaks `sockwave.1`."""
    shared = find_loop(options.engine)
    deadline = Deadline(options.open_timeout)
    attempt = ThreadAttempt(route, options, deadline, topics)
    with shared:
        host = find_thread_host(shared, options).__enter__()
    try:
        session = _drive(attempt.run(host), shared, deadline)
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
            return future.result(self._deadline.left())
        except BaseException:
            future.cancel()
            raise


def _drive(
    coroutine: Coroutine[Any, Any, object], shared: SharedLoop, deadline: Deadline
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
                shared.wait_for(awaited, deadline.left())
                deadline.left()
        except TimeoutError as late:
            error = _as_cancelled(late, deadline)
        except BaseException as failure:
            error = failure


def _as_cancelled(late: TimeoutError, deadline: Deadline) -> BaseException:
    """Return the error to raise in an attempt: that it is over, if it is."""
    try:
        deadline.left()
    except TimeoutError:
        return asyncio.CancelledError()
    return late
