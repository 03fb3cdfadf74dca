"""A server as its transports, requests and connections see it."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from functools import partial
from typing import Any

from sockwave.close import CloseCode
from sockwave.core.events.emitter import Emitter
from sockwave.core.events.loop_thread import keep_for_ever
from sockwave.core.http.event_stream import EventStream
from sockwave.core.http.request_head import RequestHead
from sockwave.core.http.settings import HttpSettings, Taker
from sockwave.core.io.transport import Transport
from sockwave.core.limits.counters import LimitCounters
from sockwave.core.opening.newcomer import PendingConnection
from sockwave.core.session.connection import Connection
from sockwave.core.session.connections import Connections
from sockwave.core.session.hub import Hub
from sockwave.errors import InvalidJSON, Refused, SockwaveError, without_disconnects
from sockwave.forking import detach_loop, leave_tasks, watch_forks
from sockwave.http import Request, Response
from sockwave.http.files import send_file
from sockwave.http.semantics import parse_strictly
from sockwave.http.serialize import serialize_refusal
from sockwave.json_codec import REASON
from sockwave.limits import Limits, OverLimit
from sockwave.log import escape, fields_of, log_access, peers
from sockwave.options import Options
from sockwave.proxy.forwarded import Client, find_client
from sockwave.proxy.receiver import ProxyReceiver
from sockwave.proxy.tlv import Facts
from sockwave.runtime.accepted_socket import AcceptedSocket
from sockwave.runtime.admission import Admission
from sockwave.runtime.applications import Applications
from sockwave.runtime.engine import Engine
from sockwave.runtime.listener_warnings import ListenerWarnings
from sockwave.runtime.memory_budget import MemoryWatch, NotUpgraded
from sockwave.runtime.opening import Openings
from sockwave.runtime.routes import Routes
from sockwave.runtime.thread_calls import ThreadCalls
from sockwave.runtime.topics import make_topics
from sockwave.runtime.unheard import answer_without_page, answer_without_upgrade
from sockwave.timeouts import outcome_of
from sockwave.tls_info import TLSInfo

logger = logging.getLogger("sockwave")


class Host(Emitter):
    """The internal side of a server; the application sees its `Server`, which has one `Host`."""

    limits: Limits
    loop: asyncio.AbstractEventLoop
    engine: Engine
    admission: Admission
    openings: Openings
    memory: MemoryWatch
    http: HttpSettings

    def __init__(self, options: Options) -> None:
        self.options = options
        self.limits = options.limits
        self.limit_counters = LimitCounters()
        warnings = ListenerWarnings(self.limits)
        self.warn_no_listener = warnings.warn_no_listener
        self.warn_tasks_stalled = warnings.warn_tasks_stalled
        self.warn_unfinished = warnings.warn_unfinished
        self.clients = Connections()
        #: Until the server runs, a hub without a loop, and without connections.
        self.hub = Hub(self, None, self.limits, self.clients, options.slow)
        self.is_running = False
        #: Who hears what.
        self.topics = make_topics(self, options)
        self.hub.topics, self.hub.others = self.topics.table, self.topics.reach
        self.hub.json = options.json_reading
        #: The ASGI applications, and their WebSockets.
        self.applications = Applications(self, options)
        #: Which function takes which path.
        self.routes = Routes(self)
        #: The calls from other threads; None while the server does not run.
        self.calls: ThreadCalls | None = None
        #: Called for each request, and each opening handshake that was answered by 101; None: not.
        self.when_served = None
        self._is_closing_emitted = False
        self._is_close_emitted = False
        #: True in a child that was forked while the server ran: it goes on in the parent only.
        self.is_abandoned = False
        self.when_abandoned: Callable[[], object] | None = None
        self._is_reporting = False

    def start(self, loop: asyncio.AbstractEventLoop, engine: Engine) -> None:
        """Create what connections need; then they can be accepted."""
        self.loop = loop
        self.engine = engine
        self.hub = Hub(self, engine, self.limits, self.clients, self.options.slow)
        self.hub.topics, self.hub.others = self.topics.table, self.topics.reach
        self.hub.json = self.options.json_reading
        self.is_running = True
        self.calls = ThreadCalls(loop)
        self.applications.attach()
        self.topics.start()
        self.admission = Admission(
            self,
            self.hub,
            self.options,
            self.routes.sockets,
            has_mounts=self.applications.has_mounts,
            has_fallback=self.applications.fallback is not None,
        )
        self.http = self.admission.http = HttpSettings(
            self,
            engine,
            self.limits,
            parse_strictly,
            send_file,
            open_event_stream=EventStream,
            routes=self.routes.requests,
            asks_for_client=bool(self.options.trusted_proxies),
            fallback=self.applications.fallback_taker,
            has_mounts=self.applications.has_places,
            limits_takers=self.options.has_body_size,
            added_headers=self.options.added_headers,
            adds_date=self.options.date_header,
            log_access=log_access if self.options.access_log else None,
        )
        self.openings = Openings(
            self.options,
            self.hub,
            self.admission,
            self.applications,
            self.routes,
            client_of=self.client_of,
            listeners=partial(self.takers, "handshake"),
            report=self.report,
            served=self.count_served,
        )
        self.memory = MemoryWatch(
            self.hub, self.applications.hub, self.openings.connections, self.not_upgraded
        )
        self.memory.check()
        watch_forks(self)

    @property
    def takes_calls(self) -> bool:
        """Whether calls of other threads reach the server: not where its loop ended before it."""
        return self.calls is not None and not self.loop.is_closed()

    def forked(self, *, is_child: bool) -> None:
        """In a forked child, abandon the server: it goes on in the parent only."""
        if not (is_child and self.is_running):
            return
        self.is_running = False
        self.is_abandoned = True
        self.calls = None
        try:
            self.engine.abandon()
        finally:
            detach_loop(self.loop)
        tasks = [*self.hub.tasks(), *self.applications.tasks()]
        keep_for_ever(tasks)
        leave_tasks(self.loop, tasks)
        self.memory.stop()
        self.topics.abandon()
        for connection in (*self.clients, *self.applications.connections):
            connection._abandon()
        if self.when_abandoned is not None:
            self.when_abandoned()

    def emit_closing(self) -> None:
        """Emit `closing`, once."""
        if not self._is_closing_emitted:
            self._is_closing_emitted = True
            self.emit_event("closing")

    def emit_close(self) -> None:
        """Emit `close`, once, and accept no more calls from other threads."""
        self.calls = None
        self.topics.end()
        if not self._is_close_emitted:
            self._is_close_emitted = True
            self.emit_event("close", None)

    # ---- transports and requests

    def admit(self, transport: Transport) -> bool:
        """Admit a new connection and return True, or reject it and return False."""
        options, address = self.options, transport.remote_address
        # A connection from a proxy is counted under its client's address, once the proxy tells it.
        is_proxy = options.proxy_protocol.covers(address) or options.trusted_proxies.covers(address)
        return self.admission.admit(transport, None if is_proxy else address)

    def identify_client(self, pending: PendingConnection) -> None:
        """Read the PROXY header first, if the peer is a proxy; else emit `stream` at once."""
        transport = pending.transport
        if self.options.proxy_protocol.covers(transport.remote_address):
            transport.receiver = ProxyReceiver(
                transport, pending, partial(self._proxy_header_read, pending)
            )
        else:
            self.emit_stream(transport)

    def _proxy_header_read(self, pending: PendingConnection, facts: Facts) -> None:
        """Count the client that the PROXY header names, and emit `stream` for it."""
        transport = pending.transport
        if facts.is_secure:
            self.admission.keep_tls_info(transport, facts.to_tls_info())
        try:
            if not self.options.trusted_proxies.covers(transport.remote_address):
                self.admission.count_address(transport, transport.remote_address)
        except OverLimit as refused:
            pending.dismiss(refused)
        else:
            self.emit_stream(transport)

    def not_upgraded(self) -> list[NotUpgraded]:
        """Return the connections that have not become WebSockets, or not yet."""
        return [*self.http.connections, *self.admission.pending_connections()]

    def emit_stream(self, transport: Transport) -> None:
        """Emit `stream` for a new connection, once its client's address is known."""
        if self.listeners("stream"):
            self.engine.contexts.run(self.emit_event, "stream", AcceptedSocket(transport))

    def client_of(self, head: RequestHead, transport: Transport) -> Client:
        """Return the client of a request; raises Refused if a proxy's headers are malformed."""
        peer = Client(transport.remote_address, transport.is_secure)
        proxies = self.options.trusted_proxies
        if not proxies:
            return peer
        return find_client(
            head.headers,
            peer,
            proxies,
            trusts_host=self.options.trust_forwarded_host,
            reads_all=self.options.forwarded_headers == "all",
        )

    def proxied_tls_info_of(self, transport: Transport) -> TLSInfo | None:
        """Return what a proxy has told of the client's TLS; None if it has told nothing."""
        return self.admission.proxied_tls_infos.get(transport)

    def receiver_failed(self, error: BaseException, transport: Transport | None) -> None:
        """Report an error that a receiver raised; the engine drops its transport."""
        receiver = None if transport is None else transport.receiver
        connection = receiver if isinstance(receiver, Connection) else None
        run = self.engine.contexts.run if connection is None else connection._run
        run(self.report, error, connection)

    def serialize_refusal(self, refused: Refused, *, to_head: bool) -> bytes:
        """Return the answer to a request that is refused, as it goes on the wire.

        `to_head`: the method is HEAD.
        """
        return serialize_refusal(refused, self.options.added_headers, to_head=to_head)

    def find_taker(self, request: Request) -> Taker | None:
        """Return what takes a request that has no route; None if the listeners do, or nothing.

        It is the application or the folder at the longest prefix of its path, or, without
        listeners, the ASGI application that takes everything.
        """
        found = self.applications.find_mounted(request)
        if found is not None:
            return found.taker
        return None if self.listeners("request") else self.applications.fallback_taker

    def answer_unheard(self, request: Request, response: Response) -> None:
        """Answer a request that no route, no listener and no application takes."""
        takes_some = self.applications or self.routes.requests.count
        if takes_some and self.routes.find_for_socket(request) is None:
            answer_without_page(response)
        else:
            answer_without_upgrade(request, response, self.options)

    def report_unanswered(self, request: Request, reason: str) -> None:
        """Report a request that the application has not answered, or not to the end."""
        what = f"{escape(request.method)} {escape(request.path)}"
        # In a copy of the current context, which may belong to another connection's listener.
        error = SockwaveError(f"no answer to {what}: {reason}")
        copy_context().run(self.report, error, None, request)

    def handle_upgrade(self, transport: Transport, head: RequestHead, rest: bytes) -> None:
        """Begin the opening handshake of a request that asks for a WebSocket."""
        self.openings.begin(transport, head, rest)

    def make_request(self, raw: bytes) -> RequestHead:
        """Return the opening request of a connection, from the bytes that it keeps."""
        return RequestHead(raw)

    # ---- what the end of the server waits for

    @property
    def call_count(self) -> int:
        """How many calls, and connections with messages left, the end of the server waits for."""
        return self.hub.call_count + self.applications.call_count

    def when_idle(self, call: Callable[[], object] | None) -> None:
        """Set what is called when `call_count` may have fallen to 0; None: nothing."""
        self.hub.when_idle(call)
        self.applications.when_idle(call)

    def cancel_calls(self) -> None:
        """Cancel the calls that the end of the server still waits for."""
        self.hub.cancel_calls()
        self.applications.cancel_calls()

    def excuse(self, task: "asyncio.Task[Any] | None") -> None:
        """Let the end of the server not wait for a task that waits for it."""
        self.hub.excuse(task)
        self.applications.excuse(task)

    # ---- listeners that fail, or take long

    def listener_failed(self, error: BaseException) -> None:
        """Handle an error that a listener of the server raised."""
        if self.exchange is not None:
            self.exchange.listener_failed(error)
        else:
            self.listener_failed_for(error, self.hub.current)

    def listener_failed_for(self, error: BaseException, connection: Connection | None) -> None:
        """Report an error of the application, and close the connection that it happened on."""
        self.report(error, connection)
        if connection is not None:
            connection.close(CloseCode.INTERNAL_ERROR)

    def refuse_json(self, error: InvalidJSON, connection: Connection) -> bool:
        """Handle a message that is no such JSON; return whether that closes the connection.

        Without a listener of `error`, it is a line about a peer, and no traceback: clients cause
        it.
        """
        if self.options.invalid_json == "close":
            peers.info("%s: closed with 1007: %s", connection, error)
            connection.close(CloseCode.INVALID_PAYLOAD, REASON)
            return True
        if self.listeners("error"):
            self.report(error, connection)
        else:
            peers.warning("%s: a message is dropped: %s", connection, error)
        return False

    def call_failed(self, error: BaseException, connection: Connection | None) -> None:
        """Handle an error of a listener's call; ConnectionClosed is none if its client has gone."""
        if connection is not None and connection._has_left():
            rest = without_disconnects(error)
        else:
            rest = error
        if rest is not None:
            self.listener_failed_for(rest, connection)

    def report(
        self,
        error: BaseException,
        connection: Connection | None,
        request: RequestHead | None = None,
    ) -> None:
        """Emit `error`; log it if that has no listener, or if the listener itself fails.

        `request` is the one that a listener, or an application, has failed at.
        """
        if self.is_abandoned and isinstance(error, SystemExit):
            return  # a forked child ends, as it was told to
        if self.listeners("error") and not self._is_reporting:
            self._is_reporting = True
            try:
                self.emit_event("error", error, connection)
            finally:
                self._is_reporting = False
        else:
            self._log(error, connection, request)

    def _log(
        self, error: BaseException, connection: Connection | None, request: RequestHead | None
    ) -> None:
        """Log an error; if logging fails too, call the loop's exception handler."""
        where: object = connection or "the server"
        if connection is None and request is not None:
            where = f"{escape(request.method)} {escape(request.path)}"
        about = fields_of(request if connection is None else connection)
        try:
            logger.error("error in %s", where, exc_info=error, extra=about)
        except Exception as failure:
            if not self.is_running:
                raise
            self.loop.call_exception_handler(
                {"message": f"an error was not logged: {error!r}", "exception": failure}
            )

    def listener_started(self, coroutine: Coroutine[Any, Any, object]) -> None:
        """Run what an asynchronous listener returned as a task of its connection or its request."""
        if self.exchange is not None:
            # `outcome_of` wraps what a plain function has returned: an awaitable, no coroutine.
            is_plain = getattr(coroutine, "cr_code", None) is outcome_of.__code__
            self.exchange.listener_started(coroutine, is_plain)
        elif not self.is_running:
            coroutine.close()
            raise SockwaveError("the server does not run: expected no asynchronous listener")
        else:
            self.hub.start_task(coroutine, self.hub.current)
