"""`sockwave.sync.connect`: connections that are opened by us, for threads without asyncio."""

import os
import socket
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Never, TypeVar, cast, overload

from sockwave.client.backoff import Backoff, Waits
from sockwave.client.plan import Plan, TopicNames, no_such_attribute
from sockwave.client.proxies import ProxyOption
from sockwave.client.topics.state import TopicState
from sockwave.close import CloseCode, encode_close
from sockwave.core.sync.connection import Connection
from sockwave.core.sync.shared_loop import Pause
from sockwave.errors import code_at_exit
from sockwave.sync.attempt import open_connection
from sockwave.sync.loops import check_may_wait, find_loop
from sockwave.sync.topics import TopicConnection

#: What a connector gives.
Opened = TypeVar("Opened", bound=Connection, covariant=True)


@overload
def connect(
    uri: str,
    *,
    subprotocol: TopicNames,
    path: str | os.PathLike[str] | None = None,
    sock: socket.socket | None = None,
    proxy: ProxyOption = True,
    proxy_ssl: ssl.SSLContext | None = None,
    backoff: Backoff | None = None,
    **options: Any,
) -> "Connector[TopicConnection]": ...
@overload
def connect(
    uri: str,
    *,
    subprotocol: str | Iterable[str] | None = None,
    path: str | os.PathLike[str] | None = None,
    sock: socket.socket | None = None,
    proxy: ProxyOption = True,
    proxy_ssl: ssl.SSLContext | None = None,
    backoff: Backoff | None = None,
    **options: Any,
) -> "Connector[Connection]": ...
def connect(
    uri: str,
    *,
    subprotocol: str | Iterable[str] | None = None,
    path: str | os.PathLike[str] | None = None,
    sock: socket.socket | None = None,
    proxy: ProxyOption = True,
    proxy_ssl: ssl.SSLContext | None = None,
    backoff: Backoff | None = None,
    **options: Any,
) -> "Connector[Any]":
    """Connect to a WebSocket server, in a thread that waits for it.

    `with sockwave.sync.connect(uri) as conn` closes the connection at the end of the block;
    `conn = sockwave.sync.connect(uri).open()` leaves that to the caller;
    `for conn in sockwave.sync.connect(uri)` connects again whenever the loop's body is done with
    the connection, after waits that `backoff` describes.

    With `subprotocol="sockwave.1"` it gives a `TopicConnection`, which hears topics, and misses
    nothing of them from one connection of the loop to the next.

    The other options are those of `sockwave.connect`. Any thread may use a connection; one thread
    of the process answers pings while no thread is in a call.

    Raises what `sockwave.connect` raises; what opens a connection raises SockwaveError where the
    thread must not wait: in a function that a connection calls itself, such as `conflate`.
    """
    plan = Plan(
        uri,
        subprotocol=subprotocol,
        path=path,
        sock=sock,
        proxy=proxy,
        proxy_ssl=proxy_ssl,
        backoff=backoff,
        options=options,
    )
    return Connector(plan)


class Connector(Generic[Opened]):
    """A connection to be opened, or one after the other: what `connect` returns."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        #: The connections of blocks, and of bodies of loops, that run now.
        self._held: list[Connection] = []
        #: How threads wait that open connections now.
        self._pauses: list[Pause] = []
        self._is_closed = False

    if not TYPE_CHECKING:  # which says so itself

        def __getattr__(self, name: str) -> Never:
            ways = "`with connect(...) as conn` or `connect(...).open()`"
            raise no_such_attribute(self, name, TopicConnection, ways)

    def open(self) -> Opened:
        """Open a connection, and wait until it is open; the caller closes it."""
        with self._begin() as pause:
            return self._open(self._plan.make_topics(), pause)

    def __enter__(self) -> Opened:
        opened = self.open()
        self._held.append(opened)
        return opened

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._held.pop().close(code_at_exit(error))

    def __iter__(self) -> Iterator[Opened]:
        return self._reconnect(self._plan.make_waits(), self._plan.make_topics())

    def close(self, code: int = CloseCode.GOING_AWAY, reason: str = "") -> None:
        """End the loops over connections, from any thread or the handler of a signal.

        Their waits and attempts end, no further one begins, and the connections that a loop's body
        or a `with` block has are closed: it returns when they have ended. Those of `open` stay.

        Raises TypeError or ValueError for a code or reason that cannot be sent.
        """
        encode_close(code, reason)
        self._is_closed = True
        for pause in list(self._pauses):
            pause.end()
        for connection in list(self._held):
            connection.close(code, reason)

    @contextmanager
    def _begin(self) -> Iterator[Pause]:
        """Begin to open connections, until the block ends, or what it is given."""
        check_may_wait("connect")
        pause = Pause(find_loop(self._plan.options.engine))
        self._pauses.append(pause)
        try:
            if self._is_closed:
                pause.end()
            yield pause
        finally:
            self._pauses.remove(pause)

    def _open(self, topics: TopicState | None, pause: Pause) -> Opened:
        """Open a connection, which goes on with these topics."""
        return cast(Opened, open_connection(self._plan.route, self._plan.options, topics, pause))

    def _reconnect(self, waits: Waits, topics: TopicState | None) -> Iterator[Opened]:
        """Yield a connection, and another one when the loop's body is done with it.

        Raises what ends it for good: see `client.reconnecting`, which is the same for asyncio.
        """
        with self._begin() as pause:
            while not pause.has_ended:
                try:
                    connection = self._open(topics, pause)
                except Exception as error:
                    if not pause.has_ended:
                        pause.wait(waits.after_failure(error))
                    continue
                begin = monotonic()
                self._held.append(connection)
                try:
                    if not pause.has_ended:
                        yield connection
                except BaseException:  # GeneratorExit: the loop was left
                    _leave(connection, CloseCode.GOING_AWAY)
                    raise
                finally:
                    self._held.remove(connection)
                _leave(connection, CloseCode.NORMAL_CLOSURE)
                if isinstance(connection, TopicConnection):
                    connection._await_finish()
                if not pause.has_ended:
                    code, reason = connection.close_code, connection.close_reason
                    pause.wait(waits.after_end(code, reason, monotonic() - begin))


def _leave(connection: Connection, code: int) -> None:
    """Close a connection, and wait until it has ended; reset it where the wait is interrupted."""
    try:
        connection.close(code)
    except BaseException:
        connection.abort()
        raise
