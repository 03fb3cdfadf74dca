"""The server: its options and events, where it listens, and how it runs and ends."""

import asyncio
import contextlib
import logging
import signal
import socket
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from sockwave import binding
from sockwave.address import address_of
from sockwave.certificates import Certificates, File
from sockwave.close import CloseCode, check_close
from sockwave.connections import Connections
from sockwave.core.carrier import Carrier
from sockwave.core.connection import Connection
from sockwave.core.emitter import SERVER_EVENTS, Emitter
from sockwave.core.hub import Hub
from sockwave.core.writer import DONE
from sockwave.engine import Engine, create_engine, create_loop, secure
from sockwave.errors import ConnectionClosed, Refused, SockwaveError
from sockwave.http import HttpConnection, Request, RequestHead, Response
from sockwave.messages import Message
from sockwave.opening import Opening
from sockwave.options import Limits, Options
from sockwave.stream import Stream

if TYPE_CHECKING:
    from ssl import SSLContext

    from sockwave.selector import CoreSelector

logger = logging.getLogger("sockwave")

#: What `serve` runs for each connection.
Handler: TypeAlias = Callable[[Connection], Coroutine[Any, Any, object]]

# RFC 9110, 15.5.22: "The server MUST send an Upgrade header field in a 426 response".
UPGRADE_HEADERS = {"Upgrade": "websocket", "Content-Type": "text/plain; charset=utf-8"}

#: How long `close` waits for the closing handshakes by default, in seconds.
DRAIN_S = 10.0


class Server(Emitter):
    """A WebSocket server, which is an HTTP server too.

    `create_server` and the class take the same options; see `sockwave.options`.
    """

    limits: Limits
    loop: asyncio.AbstractEventLoop
    hub: Hub
    _engine: Engine

    def __init__(self, **options: Any) -> None:
        self.options = Options(**options)
        self.limits = self.options.limits
        self.openings: set[Opening] = set()
        self._visitors: weakref.WeakSet[HttpConnection] = weakref.WeakSet()
        # Bound, but not yet accepted on, and the TLS context of each.
        self._sockets: list[tuple[socket.socket, SSLContext | None]] = []
        self._certificates = Certificates()
        self._names: list[socket.socket] = []  # Unix sockets, whose names are ours to remove
        self._addresses: list[Any] = []
        self._hub: Hub | None = None
        self._clients: dict[int, Connection] = {}
        self._selector: CoreSelector | None = None
        self._ended: asyncio.Future[None] | None = None
        self._is_closing = False
        self._drain_timer: asyncio.TimerHandle | None = None
        self._is_reporting = False
        self._answering: Response | None = None

    def __repr__(self) -> str:
        where = ", ".join(str(address) for address in self._addresses) or "nowhere"
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
        if ssl is not None:
            self._certificates.add(ssl)
        if sock is not None:
            made = [binding.adopt(sock)]
        elif path is not None:
            made = [binding.bind_path(path)]
            self._names += made
        else:
            made = binding.bind_port(port, host)
        self._addresses += [address_of(one) for one in made]
        pairs = [(one, ssl) for one in made]
        if self._hub is None:
            self._sockets += pairs
        else:
            self.hub.hold(self._accept_on(pairs))
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
        self._certificates.load(cert, key)

    @property
    def addresses(self) -> list[Any]:
        """Where it listens: (host, port) pairs, or the paths of Unix sockets."""
        return list(self._addresses)

    # ---- running

    def run(self) -> None:
        """Run in a loop of its own until SIGINT or SIGTERM closes the server, or `close` does.

        Raises SockwaveError where a loop runs already: there it is `await serve_forever()`.
        """
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop()
            raise SockwaveError("a loop runs here: expected `await server.serve_forever()`")
        loop, self._selector = create_loop(self.options)
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(self._run())

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        caught = []
        for number in (signal.SIGINT, signal.SIGTERM):
            # Not every system has them, and only the main thread may ask for them.
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                loop.add_signal_handler(number, self._interrupt)
                caught.append(number)
        if self._certificates:
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError, AttributeError):
                loop.add_signal_handler(signal.SIGHUP, self._hang_up)
                caught.append(signal.SIGHUP)
        try:
            await self.serve_forever()
        finally:
            for number in caught:
                loop.remove_signal_handler(number)

    def _interrupt(self) -> None:
        """Close at the first signal, drop everything at the second."""
        if self._is_closing:
            self._abort_rest()
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
        assert self._ended is not None
        try:
            await asyncio.shield(self._ended)
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
        if not self._sockets:
            raise SockwaveError("there is nothing to serve: expected a call of listen() before")
        self.loop = asyncio.get_running_loop()
        self._ended = self.loop.create_future()
        self._engine = create_engine(
            self.options, self.loop, self._selector, self._welcome, self._complain
        )
        self._hub = self.hub = Hub(
            self, self._engine, self.limits, self._clients, self.options.slow
        )
        made, self._sockets = self._sockets, []
        await self._accept_on(made)

    async def _accept_on(self, sockets: "list[tuple[socket.socket, SSLContext | None]]") -> None:
        for one, context in sockets:
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
            self._addresses = []
            for one in self._names:
                binding.remove_path(one)
            if self._hub is None:
                self._close_unstarted()
            else:
                self._drain(code, reason, drain)
        return DONE if self._ended is None else self._ended

    def _close_unstarted(self) -> None:
        """Close a server that never ran."""
        for one, _ in self._sockets:
            one.close()
        self._sockets = []
        self.emit_event("close", None)

    def _drain(self, code: int, reason: str, seconds: float | None) -> None:
        """Say goodbye to everybody."""
        engine = self._engine
        engine.stop_listening()
        for connection in list(self.hub.connections.values()):
            connection.close(code, reason)
        for visitor in list(self._visitors):
            visitor.close()
        for opening in list(self.openings):
            opening.give_up()
        if seconds is not None:
            self._drain_timer = self.loop.call_later(seconds, self._abort_rest)
        engine.when_empty = self._finish
        if not engine.carrier_count:
            self.loop.call_soon(self._finish)

    def _abort_rest(self) -> None:
        """Drop whoever is still there."""
        for connection in list(self.hub.connections.values()):
            connection.abort()
        for visitor in list(self._visitors):
            visitor.abort()
        for opening in list(self.openings):
            opening.carrier.abort()
        self._engine.abort_waiting()

    def _finish(self) -> None:
        """Come to the end: nobody is there any more."""
        assert self._ended is not None
        if self._ended.done():
            return
        if self._drain_timer is not None:
            self._drain_timer.cancel()
        self._engine.when_empty = None
        if self._selector is not None:
            self._selector.detach()
        self._engine.stop()
        self._ended.set_result(None)
        self.emit_event("close", None)

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

    # ---- what carriers, requests and connections ask for

    def _welcome(self, carrier: Carrier) -> None:
        """Begin a new connection: as HTTP, whatever becomes of it."""
        visitor = HttpConnection(carrier, self)
        carrier.receiver = visitor
        self._visitors.add(visitor)
        if self.listeners("stream"):
            self.emit_event("stream", Stream(carrier))

    def _complain(self, error: BaseException, carrier: Carrier) -> None:
        """Deal with what a receiver raised; its carrier is dropped."""
        receiver = carrier.receiver
        self.report(error, receiver if isinstance(receiver, Connection) else None)

    def handle_request(self, request: Request, response: Response) -> None:
        """Let the listeners of `request` answer."""
        previous, self._answering = self._answering, response
        try:
            if not self.emit_event("request", request, response):
                response.write_head(426, UPGRADE_HEADERS)
                response.end("this is a WebSocket server: expected a request to upgrade\n")
        finally:
            self._answering = previous

    def handle_upgrade(self, connection: HttpConnection, head: RequestHead, rest: bytes) -> None:
        """Let a request become a WebSocket connection."""
        self._visitors.discard(connection)
        Opening(self, connection.carrier, head).begin(rest)

    def make_request(self, raw: bytes) -> RequestHead:
        """Give the opening request of a connection, from the bytes that it keeps."""
        return RequestHead(raw)

    # ---- listeners that fail, and listeners that take their time

    def event_table(self) -> dict[str, tuple[int, int]]:
        """Give the events of a server."""
        return SERVER_EVENTS

    def listener_failed(self, error: BaseException) -> None:
        """Answer for a listener of the server."""
        if self._answering is not None:
            self._answering.fail(error)
            if not isinstance(error, Refused):
                self.report(error, None)
        else:
            self.listener_failed_for(error, None if self._hub is None else self._hub.current)

    def listener_failed_for(self, error: BaseException, connection: Connection | None) -> None:
        """Tell of an error in the application, and close the connection that it happened on."""
        self.report(error, connection)
        if connection is not None:
            connection.close(CloseCode.INTERNAL_ERROR)

    def report(self, error: BaseException, connection: Connection | None) -> None:
        """Emit `error`; log it where nobody listens, or where the listener fails itself."""
        if self.listeners("error") and not self._is_reporting:
            self._is_reporting = True
            try:
                self.emit_event("error", error, connection)
            finally:
                self._is_reporting = False
        else:
            logger.error("error in %s", connection or "the server", exc_info=error)

    def listener_started(self, coroutine: Coroutine[Any, Any, object]) -> None:
        """Run an asynchronous listener as a task, held by its connection or its request."""
        if self._answering is not None:
            self._answering.hold(self.loop.create_task(self._answer(coroutine, self._answering)))
        elif self._hub is None:
            coroutine.close()
            raise SockwaveError("the server does not run: expected no asynchronous listener")
        else:
            self._hub.hold(coroutine, self._hub.current)

    async def _answer(self, coroutine: Coroutine[Any, Any, object], response: Response) -> None:
        """Answer a request by an asynchronous listener."""
        try:
            await coroutine
        except Exception as error:
            response.fail(error)
            if not isinstance(error, Refused):
                self.report(error, None)

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
