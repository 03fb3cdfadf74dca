"""Everybody who is connected to a server: who it is, what they are told, what it costs."""

from collections.abc import Hashable

from sockwave.announcer import Announcer
from sockwave.core.connections import Connections
from sockwave.host import Handler
from sockwave.limits import LimitHits
from sockwave.messages import Message


class Audience(Announcer):
    """A server as far as it is about all its connections."""

    @property
    def connections(self) -> Connections:
        """The connected clients: a live view, sized, iterable, and by `id`: `connections[id]`."""
        return self._host.clients

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
        return self._host.hub.broadcast(message, compress=compress, slow=slow, key=key)

    @property
    def dropped_count(self) -> int:
        """How many messages were dropped for clients that could not keep up; see `slow`.

        Those that still waited when a connection was aborted, or its closing handshake took too
        long, are among them.
        """
        return self._host.hub.dropped_count

    @property
    def limit_hits(self) -> LimitHits:
        """How often each limit has been applied: a live mapping, option name → count.

        A limit is applied to a connection that is closed for it, to a request that is refused, to a
        message that is dropped, and to who has to wait: each counts once, when it begins. What each
        of them costs, and the name of its metric, stand in the metadata of the fields of `Limits`.
        """
        return LimitHits(self._host.tally)

    def handle_with(self, handler: Handler) -> None:
        """Run `handler(conn)` as a task for each connection, as `serve` does.

        The connection is closed when it returns, with 1011 when it raises. Raises TypeError for
        what is no async function of one argument.
        """
        self._host.handle_with(handler)
