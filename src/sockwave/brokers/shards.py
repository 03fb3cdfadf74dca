"""What one shard of a cluster has of the way to other hosts.

Each shard has a client of its own, with its canary, its attempts to come back and its counts. Of
the bridge, such a client sees the topics that are in the buckets of its shard, and all patterns;
the shard with the bucket of the empty name has besides what all hosts hear: broadcasts and members.
"""

from typing import Protocol

from sockwave.brokers.interface import Appended, Bounds, Submitted, Wanted
from sockwave.brokers.sentinels import Place
from sockwave.brokers.valkey_names import bucket_of
from sockwave.core.topics.bridge import Bridge

# What waits for one shard; beyond it, messages are dropped. While the shard is there, so much more
# may wait for the end of the turn, perhaps behind a large message, as at the bridge. A tuple and
# its objects take so much besides the bytes of a message.
_QUEUE_SIZE = 8 << 20
_TURN_SIZE = 64 << 20
_MESSAGE_COST = 160


class Cluster(Protocol):
    """What a shard needs of those that are with it."""

    def confirmed(self, pattern: str, shard: "ShardBridge") -> None:
        """Note that the messages of a pattern come from a shard."""

    def left(self, pattern: str, shard: "ShardBridge") -> None:
        """Note that the messages of a pattern come from a shard no more: nobody wants them."""

    def expected(self) -> None:
        """Note that a shard is there."""

    def lost(self, shard: "ShardBridge") -> None:
        """Note that nothing comes from a shard any more."""

    def told(self) -> None:
        """Note that it has become known how a shard is."""


class ShardBridge:
    """What a shard's client has of the bridge: `whole` is all of it."""

    def __init__(self, whole: Bridge, cluster: Cluster, name: str) -> None:
        self.whole = whole
        self.host = whole.host
        self._cluster = cluster
        self._name = name
        #: Where its primary is, and which buckets it has.
        self.place: Place = ("", 0)
        self.buckets: frozenset[int] = frozenset()
        #: Whether it was found not to be there.
        self.is_away = False
        self.placements = ShardPlacements(whole)
        self.logs = ShardLogs(whole, self)
        self.presence = ShardPresence(whole, self)
        self.streams = ShardStreams(whole, self)
        self.changes: dict[Wanted, bool] = {}
        self.declared: list[tuple[str, Bounds | None]] = []
        self._messages: list[tuple[bytes, bytes]] = []
        self._message_size = 0
        self.dropped_count = 0

    def __str__(self) -> str:
        host, port = self.place
        return f"{self._name}, shard {host}:{port}"

    @property
    def is_home(self) -> bool:
        """Whether it has what all hosts hear."""
        return bucket_of(b"") in self.buckets

    def has(self, name: Wanted) -> bool:
        """Tell whether messages of a topic, or of a pattern, come from this shard."""
        return isinstance(name, str) or bucket_of(name) in self.buckets

    # ---- which topics come

    def take_changes(self) -> dict[Wanted, bool]:
        """Return which names and patterns are wanted now, or no more, as the bridge does."""
        changes, self.changes = self.changes, {}
        return changes

    def wanted(self) -> list[Wanted]:
        """List all names and patterns that are wanted from this shard."""
        return [name for name in self.whole.wanted() if self.has(name)]

    def confirm(self, name: Wanted) -> None:
        """Note that messages of a topic, or of a pattern, come from here on."""
        if isinstance(name, str):
            self._cluster.confirmed(name, self)
        elif self.has(name):
            self.whole.confirm(name)

    def unconfirm(self, name: Wanted) -> None:
        """Note that they come no more."""
        if isinstance(name, str):
            self._cluster.left(name, self)
        if self.has(name):
            self.whole.unconfirm(name)

    def expect(self) -> None:
        """Note that the shard is there: topics are confirmed as they come."""
        self.is_away = False
        self._cluster.expected()
        self.whole.expect()
        self.whole.note_new()

    def lose(self) -> None:
        """Note that the shard has gone, or was not found: nobody waits for it."""
        self.placements.submissions.clear()
        self.logs.clear()
        self.streams.clear()
        self.declared = []
        if not self.is_away:
            self.is_away = True
            self.whole.lose_shard(self.has)
            self._cluster.lost(self)

    # ---- what leaves

    def add(self, name: bytes, message: bytes) -> None:
        """Have a message leave by this shard."""
        size = len(message) + _MESSAGE_COST
        room = _QUEUE_SIZE + (0 if self.is_away else _TURN_SIZE)
        if self._messages and self._message_size + size > room:
            self.dropped_count += 1
            return
        self._messages.append((name, message))
        self._message_size += size

    def take_messages(self) -> list[tuple[bytes, bytes]]:
        """Return the messages that leave: they are the caller's from then on."""
        messages, self._messages = self._messages, []
        self._message_size = 0
        return messages

    def drop_waiting(self) -> None:
        """Drop the messages that wait for the shard."""
        self.dropped_count += len(self.take_messages())

    @property
    def queued_size(self) -> int:
        """How many bytes wait for the shard, or for any answers of the cluster's."""
        return self._message_size + self.whole.placements.queued_size

    def declare_again(self) -> None:
        """Have the cluster told again what the application has declared."""
        self.whole.declare_again()

    def take_declarations(self) -> list[tuple[str, Bounds | None]]:
        """Return what programs that are no hosts are to know now of topics."""
        declared, self.declared = self.declared, []
        return declared

    # ---- how it is

    @property
    def bad_count(self) -> int:
        """What has come and was no message: it is counted once, and not for each shard."""
        return self.whole.bad_count if self.is_home else 0

    def tell(self, _: bytes) -> None:
        """Note that it has become known how the shard is: its client has the same."""
        self._cluster.told()


class ShardPlacements:
    """The messages that wait for their places, of one shard."""

    def __init__(self, whole: Bridge) -> None:
        self._whole = whole.placements
        self.submissions: list[Submitted] = []

    @property
    def large_size(self) -> int:
        """How many bytes of what waits for any answers of the cluster's large messages are."""
        return self._whole.large_size

    def take_submissions(self) -> list[Submitted]:
        """Return the messages that leave now."""
        submissions, self.submissions = self.submissions, []
        return submissions


class ShardLogs:
    """The logs that one shard keeps."""

    def __init__(self, whole: Bridge, shard: ShardBridge) -> None:
        self._whole = whole
        self._shard = shard
        self.reads: list[tuple[bytes, int, int, int, Bounds]] = []
        self.stream_reads: list[tuple[bytes, int, int, int]] = []

    def clear(self) -> None:
        """Forget of what pages were wanted: they are asked for again."""
        self.reads, self.stream_reads = [], []

    def take_reads(self) -> list[tuple[bytes, int, int, int, Bounds]]:
        """Return of which logs a page is wanted."""
        reads, self.reads = self.reads, []
        return reads

    def take_stream_reads(self) -> list[tuple[bytes, int, int, int]]:
        """Return of which streams a page is wanted."""
        reads, self.stream_reads = self.stream_reads, []
        return reads

    @property
    def bad_count(self) -> int:
        """What has come and was no message of a log."""
        return self._whole.logs.bad_count if self._shard.is_home else 0


class ShardPresence:
    """The members of all hosts: they are told by the shard that has what all hosts hear."""

    def __init__(self, whole: Bridge, shard: ShardBridge) -> None:
        self._whole = whole.presence
        self._shard = shard

    @property
    def is_used(self) -> bool:
        """Whether hosts are told of members by this shard."""
        return self._shard.is_home and self._whole.is_used

    def connected(self) -> None:
        """Note that the shard is there."""
        if self._shard.is_home:
            self._whole.connected()

    def take_messages(self) -> list[bytes]:
        """Return what other hosts are to be told now."""
        return self._whole.take_messages() if self._shard.is_home else []

    def beat(self) -> bytes:
        """Return what tells others that we are there."""
        return self._whole.beat()

    def excuse(self) -> None:
        """Note that the shard was not heard since the last tick."""
        self._whole.excuse()

    def farewell(self) -> bytes:
        """Return what tells others that we leave."""
        return self._whole.farewell()

    @property
    def bad_count(self) -> int:
        """What has come and said nothing of members."""
        return self._whole.bad_count if self._shard.is_home else 0


class ShardStreams:
    """The streams that one shard keeps."""

    def __init__(self, whole: Bridge, shard: ShardBridge) -> None:
        self._whole = whole.streams
        self._shard = shard
        self.looks: list[bytes] = []
        self.deltas: list[Appended] = []
        self.gone_hosts: list[bytes] = []

    def clear(self) -> None:
        """Forget what was wanted: it is asked for again. Hosts that have gone stay so."""
        self.looks, self.deltas = [], []

    def take_messages(self) -> list[bytes]:
        """Return what other hosts are to be told now."""
        return self._whole.take_messages() if self._shard.is_home else []

    def take_looks(self) -> list[bytes]:
        """Return the names of topics of which the shard is to tell whether they are streams."""
        looks, self.looks = self.looks, []
        return looks

    def take_deltas(self) -> list[Appended]:
        """Return the deltas that leave now."""
        deltas, self.deltas = self.deltas, []
        return deltas

    def take_gone_hosts(self) -> list[bytes]:
        """Return the names of hosts whose streams are to be aborted now."""
        hosts, self.gone_hosts = self.gone_hosts, []
        return hosts

    @property
    def bad_count(self) -> int:
        """What has come and said nothing of streams."""
        return self._whole.bad_count if self._shard.is_home else 0
