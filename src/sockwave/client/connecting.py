"""`sockwave.connect`: connections that are opened by us."""

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Generator, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Never, TypeVar, overload

from sockwave.client.attempt import Attempt
from sockwave.client.backoff import Backoff
from sockwave.client.host import find_host
from sockwave.client.plan import Plan, TopicNames, no_such_attribute
from sockwave.client.proxies import ProxyOption
from sockwave.client.reconnecting import reconnect
from sockwave.client.topics.connection import TopicConnection
from sockwave.client.topics.state import TopicState
from sockwave.core.session.client_connection import ClientConnection
from sockwave.errors import code_at_exit

#: What a connector gives.
Opened = TypeVar("Opened", bound=ClientConnection, covariant=True)


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
) -> "Connector[ClientConnection]": ...
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
    """Connect to a WebSocket server.

    `async with sockwave.connect(uri) as conn` closes the connection at the end of the block;
    `conn = await sockwave.connect(uri)` leaves that to the caller;
    `async for conn in sockwave.connect(uri)` connects again whenever the loop's body is done with
    the connection, after waits that `backoff` describes.

    With `subprotocol="sockwave.1"` it gives a `TopicConnection`, which hears topics, and misses
    nothing of them from one connection of the loop to the next.

    The other options are those of `sockwave.client.options.ClientOptions`. `path` is a Unix socket
    to connect to in place of the URI's host and port, `sock` a socket that is connected already.
    `proxy` is the URL of a proxy, http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT; True:
    the one that the environment names (`http_proxy`, `https_proxy`, `all_proxy`, `no_proxy`), but
    none for localhost and its addresses; False: none. `proxy_ssl` is the SSLContext for a proxy
    with https.

    Raises TypeError or ValueError at once for a wrong argument. What cannot be connected raises
    OSError (`ssl.SSLError` is one), TimeoutError after `open_timeout`, HandshakeRefused where the
    server answers with an error, and HandshakeError where it does not speak the protocol.
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
        self._connection: ClientConnection | None = None

    if not TYPE_CHECKING:  # which says so itself

        def __getattr__(self, name: str) -> Never:
            ways = "`async with connect(...) as conn` or `await connect(...)`"
            raise no_such_attribute(self, name, TopicConnection, ways)

    def __await__(self) -> Generator[Any, None, Opened]:
        return self._open(self._plan.make_topics()).__await__()

    async def __aenter__(self) -> Opened:
        opened: Opened = await self._open(self._plan.make_topics())
        self._connection = opened
        return opened

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection._leave(code_at_exit(error))

    def __aiter__(self) -> AsyncIterator[Opened]:
        waits, topics = self._plan.make_waits(), self._plan.make_topics()
        return reconnect(lambda: self._open(topics), waits)

    def _without_topics(self) -> "Connector[ClientConnection]":
        """Hand each message to the application as it is, whatever the subprotocol."""
        self._plan.has_topics = False
        return self

    async def _open(self, topics: TopicState | None) -> Any:
        """Open a connection within `open_timeout`, which goes on with these topics."""
        options = self._plan.options
        attempt = Attempt(self._plan.route, options, topics)
        try:
            async with asyncio.timeout(options.open_timeout) as timer:
                with find_host(options) as host:
                    return await attempt.run(host)
        except TimeoutError:
            if not timer.expired():
                raise
            raise attempt.late_error() from None
