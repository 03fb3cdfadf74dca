"""Everybody who is connected to a server: who it is, what they are told, what it costs."""

import inspect
from collections.abc import Hashable

from sockwave.core.connection import Connection
from sockwave.core.connections import Connections
from sockwave.core.hub import Hub
from sockwave.host import Handler, Host
from sockwave.limits import LimitHits
from sockwave.messages import Message
from sockwave.options import Options


class Audience(Host):
    """A server as far as it is about all its connections."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._clients = Connections()

    @property
    def connections(self) -> Connections:
        """The connected clients: a live view, sized, iterable, and by `id`: `connections[id]`."""
        return self._clients

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
        otherwise for this one. It refers to no other message, as it is for many; what follows it on
        a connection with server context takeover may refer to it.

        `slow` says what becomes of it for who cannot keep up, in place of the option; with
        "conflate", it replaces the message of the same `key` that waits. See `Connection.send`.

        Raises TypeError for anything else, ValueError for a str with a lone surrogate, TypeError or
        ValueError for a policy that does not exist, or a key without "conflate".
        """
        hub = self._hub or Hub(self, None, self.limits, self._clients, self.options.slow)
        return hub.broadcast(message, compress=compress, slow=slow, key=key)

    @property
    def dropped_count(self) -> int:
        """How many messages were dropped for clients that could not keep up; see `slow`.

        Those that still waited when a connection was aborted, or its closing handshake took too
        long, are among them.
        """
        return 0 if self._hub is None else self._hub.dropped_count

    @property
    def limit_hits(self) -> LimitHits:
        """How often each limit has been applied: a live mapping, option name → count.

        A limit is applied to a connection that is closed for it, to a request that is refused, to a
        message that is dropped, and to who has to wait: each counts once, when it begins. What each
        of them costs, and the name of its metric, stand in the metadata of the fields of `Limits`.
        """
        return LimitHits(self.tally)

    def handle_with(self, handler: Handler) -> None:
        """Run `handler(conn)` as a task for each connection, which ends with it."""
        if not _may_handle(handler):
            raise TypeError(
                f"handler: expected an async function of one connection, given {handler!r}"
            )

        @self.on("connection")
        def connected(connection: Connection) -> None:
            connection.expect_handler()
            self.hub.hold(self.handle(handler, connection))


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
    return not (inspect.isgeneratorfunction(handler) or inspect.isasyncgenfunction(handler))
