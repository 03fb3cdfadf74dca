"""The transports of clients: with TLS or without, on either engine."""

import socket
import ssl
import sys
from collections.abc import Callable
from typing import Any

from sockwave.client.host import ClientHost
from sockwave.core.io.asyncio.engine import AsyncioEngine
from sockwave.core.io.asyncio.transport import TransportProtocol
from sockwave.core.io.transport import Transport
from sockwave.core.tls.asyncio_transport import TlsProtocol
from sockwave.core.tls.client import ClientTls
from sockwave.core.tls.tls import Tls
from sockwave.runtime.engine import choose_tls


class Securing:
    """The TLS of a transport that is not connected yet."""

    def __init__(self, tls: Any, name: str) -> None:
        self.tls = tls
        self._name = name

    def begin(self, transport: Transport, when_established: Callable[[], object]) -> None:
        """Begin the handshake, and call the function once TLS is established."""
        self.tls.aim(self._name, when_established)
        self.tls.start(transport)


def make_transport(
    host: ClientHost, context: ssl.SSLContext | None, name: str, *, is_stamped: bool
) -> tuple[Any, Securing | None]:
    """Return a transport that is not connected yet, and its TLS; `name` is the server's.

    `is_stamped`: the kernel notes when bytes come for the socket, which epoll's can tell.
    """
    is_asyncio = isinstance(host.engine, AsyncioEngine)
    if context is None:
        if is_asyncio:
            return TransportProtocol(host.engine), None
        return _choose_socket(is_stamped)(), None
    tls = choose_client_tls()(context, host.records)
    if is_asyncio:
        return TlsProtocol(host.engine, tls), Securing(tls, name)
    return _choose_tls_socket(is_stamped)(tls), Securing(tls, name)


def stamp(sock: socket.socket) -> bool:
    """Have the kernel note when bytes come for a socket; return whether it does."""
    if sys.platform != "linux":
        return False
    from sockwave.core.io.epoll import stamped_socket

    return stamped_socket.stamp(sock.fileno())


def _choose_socket(is_stamped: bool) -> type[Any]:
    """Choose the class of the sockets of the epoll engine, which only Linux has."""
    if is_stamped:
        from sockwave.core.io.epoll.stamped_socket import StampedSocket

        return StampedSocket
    from sockwave.core.io.epoll.socket import EpollSocket

    return EpollSocket


def _choose_tls_socket(is_stamped: bool) -> type[Any]:
    """Choose the class of those that speak TLS."""
    if is_stamped:
        from sockwave.core.tls.stamped_socket import StampedTlsSocket

        return StampedTlsSocket
    from sockwave.core.tls.epoll_socket import TlsSocket

    return TlsSocket


def choose_client_tls() -> type[Tls]:
    """Choose how OpenSSL is called, as for a server: see `choose_tls`."""
    if choose_tls() is Tls:
        return ClientTls
    from sockwave.core.tls.client_openssl import DirectClientTls

    return DirectClientTls
