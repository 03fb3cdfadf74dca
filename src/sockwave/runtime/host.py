"""A server as its transports, requests and connections see it."""

import asyncio
import inspect
import logging
import weakref
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from functools import partial
from typing import Any, TypeAlias

from sockwave.close import CloseCode
from sockwave.core.events.emitter import Emitter
from sockwave.core.io.transport import Transport
from sockwave.core.limits.counters import LimitCounters
from sockwave.core.opening.newcomer import PendingConnection
from sockwave.core.session.connection import Connection
from sockwave.core.session.connections import Connections
from sockwave.core.session.hub import Hub
from sockwave.errors import Refused, SockwaveError, besides_departure
from sockwave.forking import let_go_of, watch_forks
from sockwave.functions import generates
from sockwave.handshake.refusal import Refusal
from sockwave.http import HttpConnection, Request, Response
from sockwave.http.request_listeners import RequestListeners
from sockwave.limits import Limits, OverLimit
from sockwave.log import describe, escape, peers
from sockwave.options import Options
from sockwave.proxy.forwarded import Client, find_client
from sockwave.proxy.receiver import ProxyReceiver
from sockwave.proxy.tlv import Facts
from sockwave.request_head import RequestHead
from sockwave.runtime.accepted_socket import AcceptedSocket
from sockwave.runtime.admission import Admission
from sockwave.runtime.engine import Engine
from sockwave.runtime.memory_budget import Guest, MemoryWatch
from sockwave.runtime.opening import Openings
from sockwave.runtime.thread_calls import ThreadCalls
from sockwave.timeouts import outcome_of
from sockwave.tls_info import TLSInfo

logger = logging.getLogger("sockwave")

# RFC 9110, 15.5.22: "The server MUST send an Upgrade header field in a 426 response".
UPGRADE_HEADERS = {"Upgrade": "websocket", "Content-Type": "text/plain; charset=utf-8"}


# What is logged of calls and messages that are given up.
TOO_LATE = "%s: <Connection %s> has ended, and what it had sent was not handled within %g s"
TOO_MANY_LATE = "%s: <Connection %s> has ended, and too many others with calls that go on"

#: What `serve` runs for each connection.
Handler: TypeAlias = Callable[[Connection], Coroutine[Any, Any, object]]


class Host(Emitter):
    """A server as seen from below; `Server` is what the application sees of it, and has one."""

    limits: Limits
    loop: asyncio.AbstractEventLoop
    engine: Engine
    admission: Admission
    openings: Openings
    memory: MemoryWatch

    def __init__(self, options: Options) -> None:
        self.options = options
        self.limits = options.limits
        self.limit_counters = LimitCounters()
        self.clients = Connections()
        #: Until the server runs, one without a loop: nobody is there whom it could tell anything.
        self.hub = Hub(self, None, self.limits, self.clients, options.slow)
        self.is_running = False
        #: What other threads ask by; None while it does not run.
        self.calls: ThreadCalls | None = None
        self._is_close_told = False
        #: In a child that was forked while it ran: it goes on in the parent alone.
        self.is_abandoned = False
        self.when_abandoned: Callable[[], object] | None = None
        self.http_connections: weakref.WeakValueDictionary[Transport, HttpConnection] = (
            weakref.WeakValueDictionary()
        )
        self._is_reporting = False
        self._asked: RequestListeners | None = None
        self._has_warned_of_drops = False
        #: Listeners whose calls have been told of as standing still.
        self._standing_still: set[str] = set()

    def start(self, loop: asyncio.AbstractEventLoop, engine: Engine) -> None:
        """Be ready for connections."""
        self.loop = loop
        self.engine = engine
        self.hub = Hub(self, engine, self.limits, self.clients, self.options.slow)
        self.is_running = True
        self.calls = ThreadCalls(loop)
        self.admission = Admission(self, self.hub, self.options)
        self.openings = Openings(
            self.options,
            self.hub,
            self.admission,
            client_of=self.client_of,
            listeners=partial(self.takers, "handshake"),
            report=self.report,
        )
        self.memory = MemoryWatch(self.hub, self.openings.connections, self.guests)
        self.memory.look()
        watch_forks(self)

    def forked(self, *, is_child: bool) -> None:
        """Leave everything to the parent, in a forked child."""
        if not (is_child and self.is_running):
            return
        self.is_running = False
        self.is_abandoned = True
        self.calls = None
        try:
            self.engine.abandon()
        finally:
            let_go_of(self.loop)
        self.memory.stop()
        for connection in self.clients:
            connection._abandon()
        if self.when_abandoned is not None:
            self.when_abandoned()

    def tell_closed(self) -> None:
        """Emit `close`, once; nobody can ask for anything any more."""
        self.calls = None
        if not self._is_close_told:
            self._is_close_told = True
            self.emit_event("close", None)

    # ---- transports and requests

    def let_in(self, transport: Transport) -> bool:
        """Let a new connection in, or turn it away and give False."""
        options, address = self.options, transport.remote_address
        # A proxy is counted for its clients, once it has told whose connection it is.
        is_proxy = options.proxy_protocol.covers(address) or options.trusted_proxies.covers(address)
        return self.admission.enter(transport, None if is_proxy else address)

    def introduce(self, pending: PendingConnection) -> None:
        """Learn whom a proxy brings, where one has to tell that first."""
        transport = pending.transport
        if self.options.proxy_protocol.covers(transport.remote_address):
            transport.receiver = ProxyReceiver(
                transport, pending, partial(self._introduced, pending)
            )
        else:
            self.meet(transport)

    def _introduced(self, pending: PendingConnection, facts: Facts) -> None:
        """Take note of whom a proxy has brought."""
        transport = pending.transport
        if facts.is_secure:
            self.admission.note_security(transport, facts.to_tls_info())
        try:
            if not self.options.trusted_proxies.covers(transport.remote_address):
                self.admission.count_address(transport, transport.remote_address)
        except OverLimit as refused:
            pending.dismiss(refused)
        else:
            self.meet(transport)

    def open_http(self, transport: Transport) -> HttpConnection:
        """Begin a connection as HTTP, whatever becomes of it; its deadline has been set."""
        http_connection = HttpConnection(transport, self)
        self.http_connections[transport] = http_connection
        return http_connection

    def guests(self) -> list[Guest]:
        """Give those that have not become WebSockets, and may hold something."""
        return [*self.http_connections.values(), *self.admission.pending_connections()]

    def meet(self, transport: Transport) -> None:
        """Tell of a new connection, as soon as it is known whose it is."""
        if self.listeners("stream"):
            self.engine.contexts.run(self.emit_event, "stream", AcceptedSocket(transport))

    def client_of(self, head: RequestHead, transport: Transport) -> Client:
        """Tell whose request it is; raises Refused where a proxy's word makes no sense."""
        peer = Client(transport.remote_address, transport.is_secure)
        proxies = self.options.trusted_proxies
        if not proxies:
            return peer
        trusts_host = self.options.trust_forwarded_host
        return find_client(head.headers, peer, proxies, trusts_host=trusts_host)

    def security_of(self, transport: Transport) -> TLSInfo | None:
        """Give what a proxy has told of the TLS that it has ended; None where it has not."""
        return self.admission.told.get(transport)

    def complain(self, error: BaseException, transport: Transport | None) -> None:
        """Deal with what a receiver raised; its transport is dropped."""
        receiver = None if transport is None else transport.receiver
        connection = receiver if isinstance(receiver, Connection) else None
        run = self.engine.contexts.run if connection is None else connection._run
        run(self.report, error, connection)

    def handle_request(self, request: Request, response: Response) -> None:
        """Let the listeners of `request` answer, in a context of their own."""
        self.engine.contexts.run(self._let_answer, request, response)

    def _let_answer(self, request: Request, response: Response) -> None:
        asked = RequestListeners(response, len(self.listeners("request")), self.report)
        previous, self._asked = self._asked, asked
        try:
            if not self.emit_event("request", request, response):
                if _has_lost_upgrade(request) and peers.is_on(logging.INFO):
                    self.log_lost_upgrade(request)
                response.write_head(426, UPGRADE_HEADERS)
                response.end("this is a WebSocket server: expected a request to upgrade\n")
        finally:
            self._asked = previous

    def unanswered(self, request: Request, reason: str) -> None:
        """Tell of a request that nobody has answered, or not to the end."""
        what = f"{escape(request.method)} {escape(request.path)}"
        # In a copy of whatever context runs, which may be that of somebody else's listener.
        error = SockwaveError(f"no answer to {what}: {reason}")
        copy_context().run(self.report, error, None)

    def log_lost_upgrade(self, request: Request) -> None:
        """Tell the operator of a handshake that has lost its Upgrade header on the way."""
        refused = Refused(426, "no Upgrade: websocket, which a proxy may have taken out")
        detail = Refusal(
            refused,
            request,
            self.options.origin,
            version=None,
            secure=request.is_secure,
            host=None,
        )
        peers.info("the handshake of %s is refused with 426: %s", request, detail)

    def handle_upgrade(self, transport: Transport, head: RequestHead, rest: bytes) -> None:
        """Let a request become a WebSocket connection."""
        self.http_connections.pop(transport, None)
        self.openings.begin(transport, head, rest)

    def make_request(self, raw: bytes) -> RequestHead:
        """Give the opening request of a connection, from the bytes that it keeps."""
        return RequestHead(raw)

    # ---- listeners that fail, and listeners that take their time

    def listener_failed(self, error: BaseException) -> None:
        """Answer for a listener of the server."""
        if self._asked is not None:
            self._asked.fail(error)
        else:
            self.listener_failed_for(error, self.hub.current)

    def listener_failed_for(self, error: BaseException, connection: Connection | None) -> None:
        """Tell of an error in the application, and close the connection that it happened on."""
        self.report(error, connection)
        if connection is not None:
            connection.close(CloseCode.INTERNAL_ERROR)

    def nobody_listened(self, connection: Connection) -> None:
        """Warn, once, that messages are dropped because the application does not listen."""
        if self._has_warned_of_drops:
            return
        self._has_warned_of_drops = True
        logger.warning(
            "%s: nothing has listened to its messages within %g s (listen_timeout), and they are "
            "dropped until something does: expected a listener of 'message', `async for` or "
            "`receive`. Other connections may be concerned: see dropped_count",
            connection,
            self.options.limits.listen_timeout,
        )

    def tasks_stand_still(self, connection: Connection, count: int, seconds: float) -> None:
        """Warn, once for each listener, that its calls stop the reading and do not go on."""
        listeners = connection.listeners("message")
        # Plain ones are done when they return.
        waiting = [one for one in listeners if inspect.iscoroutinefunction(one)] or listeners
        names = " and ".join(map(describe, waiting)) or "a listener of 'message'"
        if names in self._standing_still:
            return
        self._standing_still.add(names)
        logger.warning(
            "%s: %d calls of %s (max_tasks) have not ended in %g s, and nothing is read meanwhile. "
            "If they wait for what this client sends next, they wait for ever: expected `async "
            "for` in one task, what takes long in `conn.create_task`, or a larger max_tasks",
            connection,
            count,
            names,
            seconds,
        )

    def call_failed(self, error: BaseException, connection: Connection | None) -> None:
        """Answer for a call of a listener; that its own peer has gone is no error."""
        if connection is not None and connection._has_left():
            left = besides_departure(error)
        else:
            left = error
        if left is not None:
            self.listener_failed_for(left, connection)

    def unfinished(self, connection: Connection | None, is_crowded: bool) -> None:
        """Log that a call had to be cancelled that outlived its connection, or messages dropped."""
        if connection is None:
            logger.warning("a listener of `close` has not ended in time, and is cancelled")
        elif is_crowded:
            peers.warning(TOO_MANY_LATE, connection, connection.id)
        else:
            peers.warning(TOO_LATE, connection, connection.id, self.limits.finish_timeout or 0)

    def report(self, error: BaseException, connection: Connection | None) -> None:
        """Emit `error`; log it where nobody listens, or where the listener fails itself."""
        if self.listeners("error") and not self._is_reporting:
            self._is_reporting = True
            try:
                self.emit_event("error", error, connection)
            finally:
                self._is_reporting = False
        else:
            self._log(error, connection)

    def _log(self, error: BaseException, connection: Connection | None) -> None:
        """Log an error; where the log fails too, the loop is told, and nobody else notices."""
        try:
            logger.error("error in %s", connection or "the server", exc_info=error)
        except Exception as failure:
            if not self.is_running:
                raise
            self.loop.call_exception_handler(
                {"message": f"an error was not logged: {error!r}", "exception": failure}
            )

    def listener_started(self, coroutine: Coroutine[Any, Any, object]) -> None:
        """Run an asynchronous listener as a task, held by its connection or its request."""
        asked = self._asked
        if asked is not None:
            # The listener itself is the task: it has to be told when it is cancelled unbegun.
            task = self.loop.create_task(coroutine)
            # A plain function has returned something else that is awaited.
            is_plain = getattr(coroutine, "cr_code", None) is outcome_of.__code__
            asked.run(task, is_plain=is_plain)
        elif not self.is_running:
            coroutine.close()
            raise SockwaveError("the server does not run: expected no asynchronous listener")
        else:
            self.hub.hold(coroutine, self.hub.current)

    def handle_with(self, handler: Handler, cancel_on_close: bool = True) -> None:
        """Run `handler(conn)` as a task for each connection, which ends with it."""
        if not _may_handle(handler):
            raise TypeError(
                f"handler: expected an async function of one connection, given {handler!r}"
            )

        @self.decorator("connection")
        def connected(connection: Connection) -> None:
            connection._expect_handler()
            handling = self.handle(handler, connection)
            self.hub.hold(handling, connection, is_free=not cancel_on_close)

    async def handle(self, handler: Handler, connection: Connection) -> None:
        """Run the handler of a connection, which ends with it."""
        try:
            await handler(connection)
        except (Exception, BaseExceptionGroup) as error:
            # That the peer has gone while it was talked to is how most of them end.
            left = besides_departure(error)
            if left is not None:
                self.listener_failed_for(left, connection)
        except BaseException:
            # Cancelled, by whoever: nobody is left who would talk to this peer.
            connection.close(CloseCode.INTERNAL_ERROR)
            raise
        connection.close()


def _has_lost_upgrade(request: Request) -> bool:
    """Tell whether a request that does not upgrade was made to."""
    headers = request.headers
    return "sec-websocket-key" in headers or "sec-websocket-key1" in headers


def _may_handle(handler: object) -> bool:
    """Tell whether something can be called with a connection."""
    if not callable(handler):
        return False
    try:
        inspect.signature(handler).bind(None)
    except TypeError:
        return False
    except ValueError:
        pass  # a built-in that does not tell
    # A plain function may give a coroutine that it has from elsewhere; a generator gives none.
    return not generates(handler)
