"""How a cluster of Valkey, or of Redis 7, is reached: which server has which buckets, and each."""

import random
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any, TypeAlias
from urllib.parse import urlsplit, urlunsplit

from sockwave.brokers.cluster_publishing import ClusterPublishing
from sockwave.brokers.errors import PERMANENT_ERRORS
from sockwave.brokers.interface import Loop
from sockwave.brokers.sentinels import Place, split_place
from sockwave.brokers.valkey_names import BUCKET_COUNT, ShardNames, slot_of
from sockwave.brokers.valkey_opening import ValkeyOpener
from sockwave.brokers.valkey_publishing import ValkeyPublishing
from sockwave.brokers.valkey_shards import ShardSession
from sockwave.core.topics.bridge import Bridge
from sockwave.errors import SockwaveError

#: Which primary has each bucket.
Owners: TypeAlias = list[Place]

_SUFFIX = "+cluster"
_PORT = 6379

# One server of several is waited for so long when it is asked who has what.
_ASK_S = 1.0

_NO_DATABASE = "broker: expected no database behind a cluster, which has one"

_SLOTS = [slot_of(bucket) for bucket in range(BUCKET_COUNT)]


class ClusterOpener:
    """Reaches the servers of a cluster. Its methods may be called in any thread."""

    def __init__(self, url: str, host: str) -> None:
        """Read the URL. Raises ValueError for what is none, ImportError without `valkey`."""
        url, self._seeds = split_cluster(url)
        self._opener = ValkeyOpener(url, host)
        self._known: tuple[Place, ...] = ()
        if self._opener.database:
            raise ValueError(_NO_DATABASE)
        prefix = self._opener.prefix
        if b"{" in prefix or b"}" in prefix:
            raise ValueError("broker: expected a prefix without braces in a cluster, given one")

    def read_owners(self, within_s: float = _ASK_S) -> Owners:
        """Ask servers, one after the other, which primary has each bucket.

        Raises an exception of valkey's, or a ConnectionError, where none tells.
        """
        within_s = min(within_s, _ASK_S)
        places = list(dict.fromkeys((*self._known, *self._seeds)))
        random.shuffle(places)
        failure: Exception = ConnectionError("there is no server of the cluster to ask")
        for place in places:
            try:
                return self._ask(place, within_s)
            except Exception as error:  # of whatever kind valkey raises: perhaps the next one tells
                failure = error
        raise failure

    def _ask(self, place: Place, within_s: float) -> Owners:
        (connection,) = self._opener.connect_to(place, 1, within_s)
        try:
            connection.send_command("CLUSTER", "SLOTS")
            reply = connection.read_response(disable_decoding=True)
        finally:
            connection.disconnect()
        owners, known = read_slots(reply, place)
        self._known = known
        return owners

    def connect_to(self, place: Place) -> list[Any]:
        """Connect to one server twice. Raises an exception of valkey's."""
        return self._opener.connect_to(place, 2)

    def name_buckets(self, buckets: Collection[int]) -> ShardNames:
        """Return what names begin with, at a shard that has these buckets."""
        return ShardNames(self._opener.prefix, buckets)

    def connect_publishing(self, within_s: float) -> ClusterPublishing:
        """Find out who has what, to publish only, and block meanwhile."""
        from valkey.exceptions import AuthenticationError

        publishing = ClusterPublishing(self.read_owners, self._connect_publishing)
        try:
            publishing.find_owners(within_s)
        except (*PERMANENT_ERRORS, AuthenticationError) as error:
            raise SockwaveError(f"{error}") from error
        return publishing

    def _connect_publishing(self, place: Place, within_s: float) -> ValkeyPublishing:
        (connection,) = self._opener.connect_to(place, 1, within_s)
        return ValkeyPublishing(connection, self.name_buckets(range(BUCKET_COUNT)))

    def discard(self, connected: object) -> None:
        """Close connections."""
        self._opener.discard(connected)


class ShardOpener:
    """Reaches whichever server has some buckets, and tells who has which, as it finds out."""

    def __init__(
        self,
        cluster: ClusterOpener,
        buckets: Callable[[], Collection[int]],
        told: Callable[[Owners], object],
    ) -> None:
        """`told` is called in the thread that connects, before it has done so."""
        self._cluster = cluster
        self._buckets = buckets
        self._told = told

    def connect(self) -> list[Any]:
        """Connect twice: to publish, and to hear."""
        owners = self._cluster.read_owners()
        # Some of the buckets may have gone to another server, which is not told to us before this.
        found = Counter(owners[bucket] for bucket in self._buckets())
        self._told(owners)
        return self._cluster.connect_to(found.most_common(1)[0][0])

    def open(self, connected: object, loop: Loop, bridge: Bridge) -> ShardSession:
        """Make a session of the two connections."""
        assert isinstance(connected, list)
        names = self._cluster.name_buckets(self._buckets())
        return ShardSession(loop, bridge, connected, names)

    def discard(self, connected: object) -> None:
        """Close the connections."""
        self._cluster.discard(connected)

    def connect_publishing(self, within_s: float) -> ClusterPublishing:
        """Connect to publish only: to all shards."""
        return self._cluster.connect_publishing(within_s)


def split_cluster(url: str) -> tuple[str, list[Place]]:
    """Return the URL of a server of a cluster, and the places that are asked for all others.

    That of a cluster is `valkey+cluster://USER:PASSWORD@HOST:6379,HOST:6379`. Raises ValueError for
    what is none.
    """
    parts = urlsplit(url)
    if parts.path.strip("/") not in ("", "0"):
        raise ValueError(_NO_DATABASE)
    login, at, hosts = parts.netloc.rpartition("@")
    places = [split_place(one, _PORT, "server") for one in hosts.split(",")]
    scheme = parts.scheme.lower().removesuffix(_SUFFIX)
    return urlunsplit((scheme, f"{login}{at}shard", "", parts.query, "")), places


def read_slots(reply: Any, asked: Place) -> tuple[Owners, tuple[Place, ...]]:
    """Return which primary has each bucket, and all servers that an answer has.

    Raises ConnectionError where there are buckets that no server has, and for what is no answer.
    """
    found: list[Place | None] = [None] * len(_SLOTS)
    known: dict[Place, None] = {}
    try:
        for first, last, *servers in reply:
            places = [(read_host(host, asked), int(port)) for host, port, *_ in servers]
            known.update(dict.fromkeys(places))
            for bucket, slot in enumerate(_SLOTS):
                if first <= slot <= last:
                    found[bucket] = places[0]
    except (IndexError, TypeError, ValueError) as error:
        raise ConnectionError(f"Valkey: expected who has which slots, given {reply!r}") from error
    owners = [place for place in found if place is not None]
    if len(owners) < len(found):
        raise ConnectionError("Valkey: expected a cluster whose servers have all slots")
    return owners, tuple(known)


def read_host(host: bytes | None, asked: Place) -> str:
    """Return where a server is; one that does not know itself is where it was asked."""
    return asked[0] if host in (None, b"", b"?") else host.decode()
