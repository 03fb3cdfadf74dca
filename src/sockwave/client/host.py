"""What the connections of clients share: an engine and a hub for each loop and set of options."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from sockwave.client.options import ClientOptions
from sockwave.client.topics.connection import TopicConnection
from sockwave.client.topics.state import TopicState
from sockwave.close import CloseCode
from sockwave.core.events.emitter import Emitter
from sockwave.core.events.loop_thread import keep_for_ever
from sockwave.core.http.headers import Headers
from sockwave.core.http.request_head import RequestHead
from sockwave.core.io.engine import Acceptor
from sockwave.core.io.transport import Transport
from sockwave.core.limits.counters import LimitCounters
from sockwave.core.session.client_connection import ClientConnection
from sockwave.core.session.connection import Connection
from sockwave.core.session.connections import Connections
from sockwave.core.session.hub import Hub
from sockwave.core.tls.session import Records
from sockwave.errors import InvalidJSON, without_disconnects
from sockwave.forking import detach_loop, leave_tasks, unwatch_forks, watch_forks
from sockwave.json_codec import REASON
from sockwave.limits import Limits
from sockwave.log import peers
from sockwave.runtime.engine import create_engine

logger = logging.getLogger("sockwave")

#: What connections have in common that share a host.
Key = tuple[asyncio.AbstractEventLoop, tuple[Limits, str, str]]

_hosts: dict[Key, "ClientHost"] = {}


def find_host(options: ClientOptions) -> "ClientHost":
    """Return the host of the running loop for connections with these options."""
    key = asyncio.get_running_loop(), options.shared
    if key not in _hosts:
        # Loops that were closed with connections open: nothing else tells of their end.
        for other in [other for other in list(_hosts) if other[0].is_closed()]:
            unwatch_forks(_hosts.pop(other))
    return keep_host(key, lambda: ClientHost(key, options))


def keep_host(key: Key, make: "Callable[[], ClientHost]") -> "ClientHost":
    """Return the host of a loop for some options; `make` makes it, if there is none."""
    host = _hosts.get(key)
    if host is None:
        host = _hosts[key] = make()
    return host


class ClientHost(Emitter):
    """The host of connections that clients have opened.

    It ends when it has had no connection, and no attempt at one, for a turn of the loop.
    """

    def __init__(self, key: Key, options: ClientOptions) -> None:
        self._key = key
        self._limits = options.limits
        self._use_count = 0
        self._has_ended = False
        self._has_warned_of_drops = False
        self.loop = key[0]
        self.connections = Connections()
        self.engine: Any = create_engine(options, self.loop, self.receiver_failed, LimitCounters())
        self.engine.acceptor = Acceptor()
        self.engine.when_empty = self._look
        self.hub = Hub(self, self.engine, options.limits, self.connections, options.slow)
        self.hub.when_idle(self._look)
        #: The buffers of its TLS connections.
        self.records = Records()
        watch_forks(self)

    # ---- how long it lives

    def __enter__(self) -> "ClientHost":
        self._use_count += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._use_count -= 1
        self._look()

    def _look(self) -> None:
        if self._is_idle:
            self.loop.call_soon(self._end_if_idle)

    @property
    def _is_idle(self) -> bool:
        return not (self._use_count or self.engine.transport_count or self.hub.call_count)

    def _end_if_idle(self) -> None:
        if self._is_idle and not self._has_ended:
            self._has_ended = True
            _hosts.pop(self._key, None)
            unwatch_forks(self)
            self.engine.stop()

    def forked(self, *, is_child: bool) -> None:
        """In a forked child, leave the connections to the parent."""
        if not is_child:
            return
        self._has_ended = True
        _hosts.pop(self._key, None)
        try:
            self.engine.abandon()
        finally:
            self.leave_loop()
        for connection in self.connections:
            connection._abandon()

    def leave_loop(self) -> None:
        """In a forked child, leave the loop and its tasks to the parent."""
        detach_loop(self.loop)
        tasks = self.hub.tasks()
        keep_for_ever(tasks)
        leave_tasks(self.loop, tasks)

    # ---- what an opening handshake calls

    def make_connection(
        self,
        transport: Transport,
        version: str,
        head: bytes,
        response_headers: Headers,
        topics: TopicState | None,
    ) -> ClientConnection:
        """Make the connection of a handshake that has succeeded.

        `topics` is what it goes on with if it speaks `sockwave.1`; None: it does not.
        """
        if topics is None:
            return ClientConnection(self.hub, transport, version, head, response_headers)
        return TopicConnection(self.hub, transport, version, head, response_headers, topics)

    # ---- what connections call

    def make_request(self, raw: bytes) -> RequestHead:
        """Return the opening request of a connection."""
        return RequestHead(raw)

    def proxied_tls_info_of(self, transport: Transport) -> None:
        """Return None: no proxy tells a client of its server's TLS."""

    def receiver_failed(self, error: BaseException, transport: Transport | None) -> None:
        """Report an error that a receiver raised; the engine drops its transport."""
        receiver = None if transport is None else transport.receiver
        self.report(error, receiver if isinstance(receiver, Connection) else None)

    def report(self, error: BaseException, connection: Connection | None) -> None:
        """Log an error of the application."""
        logger.error("error in %s", connection or "a client", exc_info=error)

    def listener_failed_for(self, error: BaseException, connection: Connection | None) -> None:
        """Report an error of the application, and close the connection that it happened on."""
        self.report(error, connection)
        if connection is not None:
            connection.close(CloseCode.INTERNAL_ERROR)

    def call_failed(self, error: BaseException, connection: Connection | None) -> None:
        """Handle an error of a listener's call; ConnectionClosed is none if the server has gone."""
        is_gone = connection is not None and connection._has_left()
        rest = without_disconnects(error) if is_gone else error
        if rest is not None:
            self.listener_failed_for(rest, connection)

    def refuse_json(self, error: InvalidJSON, connection: Connection) -> bool:
        """Close the connection to a server whose message is not the JSON that is expected."""
        peers.info("%s: closed with 1007: %s", connection, error)
        connection.close(CloseCode.INVALID_PAYLOAD, REASON)
        return True

    def warn_no_listener(self, connection: Connection) -> None:
        """Warn, once, that messages are dropped because the application does not listen."""
        if not self._has_warned_of_drops:
            self._has_warned_of_drops = True
            logger.warning(
                "%s: nothing has listened to its messages within %g s (listen_timeout), and they "
                "are dropped until something does: expected a listener of 'message', `async for` "
                "or `receive`. See dropped_count",
                connection,
                self._limits.listen_timeout,
            )

    def warn_tasks_stalled(self, connection: Connection, count: int, seconds: float) -> None:
        """Warn that too many calls of a listener do not end, which pauses reading."""
        peers.warning(
            "%s: %d calls of listeners of 'message' (max_tasks) have not ended in %g s, and "
            "nothing is read meanwhile",
            connection,
            count,
            seconds,
        )

    def warn_unfinished(self, connection: Connection | None, is_crowded: bool) -> None:
        """Log that a call was cancelled, or messages dropped, behind the end of a connection."""
        if connection is not None:
            peers.warning(
                "%s: <Connection %s> has ended, and what it had sent was not handled in time",
                connection,
                connection.id,
            )
