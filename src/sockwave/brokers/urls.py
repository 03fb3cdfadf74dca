"""The URL of a broker: which client it takes, and how it is told to others."""

import re
from typing import TYPE_CHECKING, Protocol

from sockwave.names import check_choice

if TYPE_CHECKING:
    from sockwave.brokers.interface import Loop, PublishingLink, Session
    from sockwave.core.topics.bridge import Bridge

_SERVERS = ("valkey", "valkeys", "redis", "rediss")

_CLUSTERS = tuple(f"{one}+cluster" for one in _SERVERS)

SCHEMES = (*_SERVERS, *(f"{one}+sentinel" for one in _SERVERS), *_CLUSTERS, "nats", "tls")

_NATS = ("nats", "tls")

#: What publishing does while the broker is away; see `broker_down`.
DOWN_POLICIES = ("queue", "raise", "local")


class PublishingOpener(Protocol):
    """Reaches a broker, to publish only."""

    def connect_publishing(self, within_s: float) -> "PublishingLink":
        """Connect, and block meanwhile, for about so long.

        Raises an Exception as `Opener.connect` does, SockwaveError where it will not be otherwise
        later.
        """


class Opener(PublishingOpener, Protocol):
    """Reaches a broker."""

    def connect(self) -> object:
        """Connect, in a thread of its own: it may block, for some seconds at most.

        Raises an Exception that says why it cannot be reached.
        """

    def open(self, connected: object, loop: "Loop", bridge: "Bridge") -> "Session":
        """Make a session of what `connect` has returned."""

    def discard(self, connected: object) -> None:
        """Close what `connect` has returned, and nobody takes."""


def check_broker(url: str | None) -> str | None:
    """Return the URL of a broker; None: there is none.

    Raises TypeError or ValueError for what is none, and ImportError, which names the extra, where
    its client is not installed.
    """
    if url is None:
        return None
    if not isinstance(url, str):
        raise TypeError(f"broker: expected str or None, given {type(url).__name__}")
    make_publishing_opener(url)
    return url


def is_cluster(url: str) -> bool:
    """Tell whether a URL is that of a cluster, of which each shard has a client of its own."""
    return url.partition(":")[0].lower() in _CLUSTERS


def check_broker_down(policy: str) -> str:
    """Return what publishing does while the broker is away. Raises TypeError or ValueError."""
    return check_choice("broker_down", policy, DOWN_POLICIES)


def make_publishing_opener(url: str) -> PublishingOpener:
    """Return what reaches a broker to publish only."""
    if not is_cluster(url):
        return make_opener(url, "")
    from sockwave.brokers.cluster_opening import ClusterOpener

    return ClusterOpener(url, "")


def make_opener(url: str, host: str) -> Opener:
    """Return what reaches a broker that is no cluster, for a host of this name."""
    scheme = url.partition(":")[0].lower()
    if scheme not in SCHEMES:
        names = ", ".join(f"{one}://" for one in SCHEMES if "+" not in one)
        raise ValueError(f"broker: expected a URL with {names}, given {hide_password(url)!r}")
    if scheme in _NATS:
        from sockwave.brokers.nats_opening import NatsOpener

        return NatsOpener(url, host)
    from sockwave.brokers.valkey_opening import ValkeyOpener  # the client is installed by an extra

    return ValkeyOpener(url, host)


def hide_password(url: str) -> str:
    """Return a URL that can be logged: without its user, its password and its settings.

    It may be none, and its password may have been written as it is: "/", "?" and "@" in it.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "a text without ://" if "@" in url else url
    login, _, place = rest.rpartition("@")
    if "?" in login:
        return f"{scheme}://…"  # the last "@" may be one of its settings
    return f"{scheme}://{re.split('[?#]', place)[0]}"
