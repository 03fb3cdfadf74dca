"""One attempt to open a connection, by way of redirects and proxies."""

import asyncio
import os
import socket
import ssl
from dataclasses import dataclass
from typing import Any

from sockwave.client.dialing import adopt, dial, dial_path, dials
from sockwave.client.errors import HandshakeError, HandshakeRefused
from sockwave.client.host import ClientHost
from sockwave.client.opening import Opening
from sockwave.client.options import ClientOptions, check_context, default_context
from sockwave.client.proxies import ProxyOption, dial_by_proxy, find_proxy
from sockwave.client.redirects import REDIRECT_COUNT, find_next
from sockwave.client.request import make_request
from sockwave.client.topics.state import TopicState
from sockwave.client.transports import make_transport, stamp
from sockwave.client.uri import Uri
from sockwave.core.session.client_connection import ClientConnection
from sockwave.paths import check_path


@dataclass(frozen=True, slots=True)
class Route:
    """Where connections lead: to the server of the URI, or where the caller says.

    Raises TypeError for a `path` that is none, or one beside a `sock`.
    """

    uri: Uri
    path: str | os.PathLike[str] | None
    sock: socket.socket | None
    proxy: ProxyOption
    proxy_ssl: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        if self.path is not None and self.sock is not None:
            raise TypeError("connect: expected one of path and sock, given both")
        if self.path is not None:
            check_path("path", self.path)
        check_context("proxy_ssl", self.proxy_ssl)

    def check_context(self, context: ssl.SSLContext | None) -> None:
        """Raise ValueError for an SSLContext, where the URI does not ask for TLS."""
        if context is not None and not self.uri.is_secure:
            raise ValueError(f"ssl: expected a URI with wss://, given {str(self.uri)!r}")

    @property
    def is_fixed(self) -> bool:
        """Whether the caller has said where it leads, whatever the URI: no redirect is followed."""
        return self.path is not None or self.sock is not None


class Attempt:
    """One attempt to open a connection, which begins at the original URI.

    `topics` is what the connection goes on with that speaks `sockwave.1`; None: it does not.
    """

    def __init__(
        self, route: Route, options: ClientOptions, topics: TopicState | None = None
    ) -> None:
        self._route = route
        self._options = options
        self._topics = topics
        #: How the server has refused, where its answer was not whole in time.
        self.refusal: HandshakeRefused | None = None

    def late_error(self) -> Exception:
        """Return the error for an attempt that `open_timeout` has ended."""
        if self.refusal is not None:
            return self.refusal
        return TimeoutError(
            f"{self._route.uri}: expected to be open within {self._options.open_timeout} s "
            "(open_timeout)"
        )

    async def run(self, host: ClientHost) -> ClientConnection:
        """Connect, and shake hands; follow redirects."""
        uri = self._route.uri
        for _ in range(REDIRECT_COUNT + 1):
            try:
                return await self._shake(host, uri)
            except HandshakeRefused as refused:
                following = None if self._route.is_fixed else find_next(refused, uri)
                if following is None:
                    raise
                uri = following
        raise HandshakeError(f"Location: expected at most {REDIRECT_COUNT} redirects, given more")

    async def _shake(self, host: ClientHost, uri: Uri) -> ClientConnection:
        """Connect to a URI, and shake hands."""
        options = self._options
        context = (options.ssl or default_context()) if uri.is_secure else None
        is_first = uri.origin == self._route.uri.origin
        name = options.server_hostname if is_first else None
        request = make_request(uri, self._route.uri, options)
        sock = await self.dial(uri)
        is_stamped = options.lag and sock.fileno() >= 0 and stamp(sock)
        transport, tls = make_transport(host, context, name or uri.host, is_stamped=is_stamped)
        opening = Opening(host, transport, request, options, self._topics)
        try:
            await host.engine.carry(sock, transport)
            if tls is None:
                opening.send_request()
            else:
                tls.begin(transport, opening.send_request)
            return await opening.done
        except BaseException as error:
            refusal = opening.give_up()
            if isinstance(error, asyncio.CancelledError):
                self.refusal = refusal
            sock.close()  # unless the transport owns it
            raise

    async def dial(self, uri: Uri) -> Any:
        """Return a socket that is connected, or what the loop has in its place."""
        write_timeout = self._options.limits.write_timeout
        if self._route.sock is not None:
            return adopt(self._route.sock, write_timeout)
        own = dials.get(asyncio.get_running_loop())
        if own is not None:
            path = self._route.path
            return await own((uri.host, uri.port) if path is None else os.fspath(path))
        if self._route.path is not None:
            return await dial_path(self._route.path)
        proxy = find_proxy(self._route.proxy, uri)
        if proxy is not None:
            return await dial_by_proxy(proxy, uri, write_timeout, self._route.proxy_ssl)
        return await dial(uri.host, uri.port, write_timeout)
