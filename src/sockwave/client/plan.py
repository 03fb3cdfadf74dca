"""What `connect` is told, checked once: for asyncio, and for threads without it."""

import os
import socket
import ssl
from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

from sockwave.client.attempt import Route
from sockwave.client.backoff import Backoff, Waits
from sockwave.client.options import ClientOptions
from sockwave.client.proxies import ProxyOption, check_proxy
from sockwave.client.topics.state import TopicState
from sockwave.client.topics.subprotocol import NAME
from sockwave.client.uri import parse_uri

#: The subprotocols that give a connection with topics.
TopicNames: TypeAlias = Literal["sockwave.1"] | list[Literal["sockwave.1"]]


class Plan:
    """Where connections lead, how they are opened, and when the next one follows.

    Raises TypeError or ValueError for a wrong argument of `connect`.
    """

    def __init__(
        self,
        uri: str,
        *,
        subprotocol: str | Iterable[str] | None,
        path: str | os.PathLike[str] | None,
        sock: socket.socket | None,
        proxy: ProxyOption,
        proxy_ssl: ssl.SSLContext | None,
        backoff: Backoff | None,
        options: dict[str, Any],
    ) -> None:
        self.route = Route(parse_uri(uri), path, sock, check_proxy(proxy), proxy_ssl)
        self.options = ClientOptions(subprotocol=subprotocol, **options)
        self.route.check_context(self.options.ssl)
        if not isinstance(backoff, Backoff | None):
            given = type(backoff).__name__
            raise TypeError(f"backoff: expected sockwave.Backoff or None, given {given}")
        self._backoff = backoff or Backoff()
        #: Whether connections hear topics, where the server speaks `sockwave.1`.
        self.has_topics = NAME in self.options.subprotocols

    def make_topics(self) -> TopicState | None:
        """Return what outlives a connection that speaks `sockwave.1`."""
        return TopicState(self.options.limits) if self.has_topics else None

    def make_waits(self) -> Waits:
        """Return the waits of a loop over connections. Raises TypeError where none can be."""
        if self.route.sock is not None:
            raise TypeError("sock: expected None, to connect more than once")
        return Waits(self._backoff, self.route.uri)


def no_such_attribute(connector: object, name: str, kind: type, ways: str) -> AttributeError:
    """Return what says that a connector has no such attribute.

    Where connections of this `kind` have it, somebody has taken it for one: `ways` tells how it
    gives one.
    """
    sentence = f"{type(connector).__name__!r} object has no attribute {name!r}"
    if not name.startswith("_") and hasattr(kind, name):
        sentence += f": it is no connection yet; it gives one, by {ways}"
    return AttributeError(sentence)
