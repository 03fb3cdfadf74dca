"""Where a server listens, and by which certificates."""

import logging
import os
import socket
from typing import TYPE_CHECKING, Any, Self

from sockwave.errors import SockwaveError
from sockwave.listening.binding import order_port, set_user_timeout
from sockwave.listening.listening import ListeningSocket
from sockwave.listening.socket_activation import take_inherited
from sockwave.listening.tls_check import File
from sockwave.runtime.engine import tls_transport_factory
from sockwave.server.closing import Closing

if TYPE_CHECKING:
    from ssl import SSLContext

logger = logging.getLogger("sockwave")


class Addresses(Closing):
    """The part of `Server` that is about where it listens."""

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

    def _check_ready(self) -> None:
        """Raise SockwaveError unless the server can start."""
        self._check_open()
        if not self._listening.addresses:
            raise SockwaveError("there is nothing to serve: expected a call of listen() before")
        self._listening.certificates.check()

    def _accept_new(self) -> Self:
        if self._host.is_running:
            self._listening.certificates.check()
            self._host.hub.start_task(self._accept_on(self._listening.take()))
        return self

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

    def _reload_certificate(self) -> None:
        """Read the certificate again, on SIGHUP; log an error if that fails."""
        try:
            self.reload_tls()
        except (OSError, SockwaveError) as error:
            logger.error("the certificate was not loaded again: %s", error)
