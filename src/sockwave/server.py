"""The server as the application sees it: its options, where it listens, how it runs and ends."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from sockwave.admission import Admission
from sockwave.certificates import File
from sockwave.close import CloseCode, check_close
from sockwave.connections import Connections
from sockwave.core.connection import Connection
from sockwave.core.hub import Hub
from sockwave.core.writer import DONE
from sockwave.ending import Ending
from sockwave.engine import Engine, create_engine, secure
from sockwave.errors import ConnectionClosed, SockwaveError
from sockwave.host import Host
from sockwave.limits import LimitHits
from sockwave.listening import Door, Listening
from sockwave.memory import MemoryWatch
from sockwave.messages import Message
from sockwave.options import Options
from sockwave.running import heard_signals, run_alone

if TYPE_CHECKING:
    from ssl import SSLContext

    from sockwave.selector import CoreSelector

logger = logging.getLogger("sockwave")

#: What `serve` runs for each connection.
Handler: TypeAlias = Callable[[Connection], Coroutine[Any, Any, object]]

#: How long `close` waits for the closing handshakes by default, in seconds.
DRAIN_S = 10.0


class Server(Host):
    """A WebSocket server, which is an HTTP server too.

    `create_server` and the class take the same options; see `sockwave.options`.
    """

    _engine: Engine

    def __init__(self, **options: Any) -> None:
        super().__init__(Options(**options))
        self._listening = Listening()
        self._clients: dict[int, Connection] = {}
        self._ending: Ending | None = None
        self._selector: CoreSelector | None = None
        self._is_closing = False

    def __repr__(self) -> str:
        where = ", ".join(str(address) for address in self.addresses) or "nowhere"
        return f"<Server on {where}, {len(self.connections)} connected>"

    # ---- where it listens

    def listen(
        self,
        port: int = 0,
        host: str | None = None,
        *,
        path: str | None = None,
        sock: socket.socket | None = None,
        ssl: "SSLContext | None" = None,
    ) -> Self:
        """Listen on `port` of `host`, at once; may be called several times, for several addresses.

        Without a host it is all interfaces, and port 0 picks a port: see `addresses`. `path` is
        that of a Unix socket, `sock` a socket made elsewhere. Connections are accepted once the
        server runs.

        With `ssl`, an `ssl.SSLContext` of your own, the socket speaks TLS (RFC 8446) and nothing
        else: `wss` and `https`. ALPN, SNI callbacks and client certificates are as the context has
        them; one option is added to it, `ssl.OP_NO_RENEGOTIATION`. See `reload_tls`.

        Raises OSError, with the address in its message, when it cannot be had.
        """
        if self._is_closing:
            raise SockwaveError("the server has been closed: expected a new one to listen")
        self._listening.bind(port, host, path, sock, ssl)
        if self._hub is not None:
            self._hub.hold(self._accept_on(self._listening.take()))
        return self

    def reload_tls(self, cert: File | None = None, key: File | None = None) -> None:
        """Load a new certificate into every context that the server listens with.

        `cert` and `key` are files, as `ssl.SSLContext.load_cert_chain` takes them, whose key has no
        password; without them those of the last call are read again. New connections see the new
        certificate, the present ones go on. SIGHUP does the same under `run`, after one call with
        files. A certificate replaces the one with the same kind of key; contexts that an SNI
        callback chooses are the application's own to change.

        Raises OSError (ssl.SSLError is one) where the files are not right, SockwaveError where the
        server has no TLS or there are no files to read again; then the old one stays.
        """
        self._listening.certificates.load(cert, key)

    @property
    def addresses(self) -> list[Any]:
        """Where it listens: (host, port) pairs, or the paths of Unix sockets."""
        return list(self._listening.addresses)

    # ---- running

    def run(self) -> None:
        """Run in a loop of its own until SIGINT or SIGTERM closes the server, or `close` does.

        Raises SockwaveError where a loop runs already: there it is `await serve_forever()`.
        """
        run_alone(self._run, self.options)

    async def _run(self, selector: "CoreSelector | None") -> None:
        self._selector = selector
        listeners = {"SIGINT": self._interrupt, "SIGTERM": self._interrupt}
        if self._listening.certificates:
            listeners["SIGHUP"] = self._hang_up
        with heard_signals(listeners):
            await self.serve_forever()

    def _interrupt(self) -> None:
        """Close at the first signal, drop everything at the second."""
        if self._is_closing and self._ending is not None:
            self._ending.abort_rest()
        self.close()

    def _hang_up(self) -> None:
        """Read the certificate again, as a server does on SIGHUP."""
        try:
            self.reload_tls()
        except (OSError, SockwaveError) as error:
            logger.error("the certificate was not loaded again: %s", error)

    async def serve_forever(self) -> None:
        """Run in the present loop until the server is closed; when cancelled, close it."""
        await self.start()
        assert self._ending is not None
        try:
            await asyncio.shield(self._ending.done)
        except asyncio.CancelledError:
            await self.close()
            raise

    async def start(self) -> None:
        """Accept connections from now on; nothing happens when it does so already.

        Raises SockwaveError when there is no address to listen on, or the server has been closed.
        """
        if self._hub is not None:
            return
        if self._is_closing:
            raise SockwaveError("the server has been closed: expected a new one to run")
        if not self._listening.addresses:
            raise SockwaveError("there is nothing to serve: expected a call of listen() before")
        self.loop = asyncio.get_running_loop()
        self._engine = create_engine(
            self.options, self.loop, self._selector, self.welcome, self.complain, self.tally
        )
        self._hub = self.hub = Hub(
            self, self._engine, self.limits, self._clients, self.options.slow
        )
        self.memory = MemoryWatch(self._hub, self.openings, self.visitors)
        self.memory.look()
        self.admission = Admission(self._engine, self.limits, self.memory)
        self._ending = Ending(self, self._engine, self._selector)
        await self._accept_on(self._listening.take())

    async def _accept_on(self, doors: list[Door]) -> None:
        for one, context in doors:
            make = None if context is None else secure(self._engine, context)
            await self._engine.listen(one, make)
        if self._is_closing:
            self._engine.stop_listening()
        else:
            self.emit_event("listening")

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
        self, code: int = 1001, reason: str = "", drain: float | None = DRAIN_S
    ) -> Awaitable[None]:
        """Stop accepting, close all connections with `code`, abort the rest after `drain` seconds.

        Returns what is done when all are gone; it need not be awaited. With `drain` None there is
        no limit but each connection's own. A second call changes nothing.

        Raises TypeError or ValueError for a code or reason that cannot be sent.
        """
        check_close(code, reason)
        if drain is not None and not drain >= 0:
            raise ValueError(f"drain: expected 0 or more seconds, given {drain}")
        if not self._is_closing:
            self._is_closing = True
            self._listening.end()
            if self._ending is None:
                self.emit_event("close", None)
            else:
                self._ending.begin(code, reason, drain)
        # Whoever gives up waiting gives up nothing else.
        return DONE if self._ending is None else asyncio.shield(self._ending.done)

    # ---- everybody

    @property
    def connections(self) -> Connections:
        """The connected clients: a live view, sized, iterable, and by `id`: `connections[id]`."""
        return Connections(self._clients)

    def broadcast(
        self,
        message: Message,
        *,
        compress: bool | None = None,
        slow: str | None = None,
        key: Hashable = None,
    ) -> int:
        """Send a str (text) or bytes-like (binary) to every connected client.

        Returns how many it was queued for. It is framed once, and leaves in one write per
        connection with all else of this turn of the loop. Clients of the drafts get no binary.

        Where permessage-deflate has been agreed on (RFC 7692), messages from the threshold on are
        compressed, once for all that have the same window; `compress` True or False decides
        otherwise for this one. A connection with server context takeover starts a new context
        behind it, as a message for many cannot refer to what was sent to one.

        `slow` says what becomes of it for who cannot keep up, in place of the option; with
        "conflate", it replaces the message of the same `key` that waits. See `Connection.send`.

        Raises TypeError for anything else, ValueError for a str with a lone surrogate, TypeError or
        ValueError for a policy that does not exist, or a key without "conflate".
        """
        hub = self._hub or Hub(self, None, self.limits, self._clients, self.options.slow)
        return hub.broadcast(message, compress=compress, slow=slow, key=key)

    @property
    def dropped_count(self) -> int:
        """How many messages were dropped for clients that could not keep up; see `slow`."""
        return 0 if self._hub is None else self._hub.dropped_count

    @property
    def limit_hits(self) -> LimitHits:
        """How often each limit has been applied: a live mapping, option name → count.

        A limit is applied to a connection that is closed for it, to a request that is refused, to a
        message that is dropped, and to who has to wait: each counts once, when it begins. What each
        of them costs, and the name of its metric, stand in the metadata of the fields of `Limits`.
        """
        return LimitHits(self.tally)

    # ---- a handler for each connection

    def handle_with(self, handler: Handler) -> None:
        """Run `handler(conn)` as a task for each connection, which ends with it."""

        @self.on("connection")
        def connected(connection: Connection) -> None:
            connection.expect_handler()
            self.hub.hold(self._handle(handler, connection))

    async def _handle(self, handler: Handler, connection: Connection) -> None:
        try:
            await handler(connection)
        except ConnectionClosed:
            pass  # the peer has gone while the handler was talking to it: how most of them end
        except Exception as error:
            self.listener_failed_for(error, connection)
        except BaseException:
            # Cancelled, by whoever: nobody is left who would talk to this peer.
            connection.close(CloseCode.INTERNAL_ERROR)
            raise
        connection.close()


def create_server(**options: Any) -> Server:
    """Create a server; `listen` and one of `run`, `serve_forever` and `async with` make it serve.

    The options are those of `sockwave.options.Options`. Raises TypeError for an unknown one, with
    the nearest name, TypeError or ValueError for a wrong value.
    """
    return Server(**options)


def serve(
    handler: Handler,
    host: str | None = None,
    port: int = 0,
    *,
    path: str | None = None,
    sock: socket.socket | None = None,
    ssl: "SSLContext | None" = None,
    **options: Any,
) -> Server:
    """Create a server that listens and runs `handler` as a task for each connection.

    It is used as `async with serve(…) as server`. A connection is closed when its handler returns,
    with 1011 when it raises.
    """
    server = Server(**options)
    server.handle_with(handler)
    return server.listen(port, host, path=path, sock=sock, ssl=ssl)
