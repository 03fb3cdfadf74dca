"""Keeps one host connected to a cluster: which shards there are, and what goes by which of them."""

import contextlib
import json
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from sockwave.brokers.client import ServerClient
from sockwave.brokers.cluster_opening import ClusterOpener, Owners, ShardOpener
from sockwave.brokers.interface import Loop, Timer, Wanted
from sockwave.brokers.sentinels import Place
from sockwave.brokers.shards import ShardBridge
from sockwave.brokers.sockets import make_waits
from sockwave.brokers.urls import hide_password
from sockwave.brokers.valkey_names import bucket_of
from sockwave.core.topics.bridge import Bridge

logger = logging.getLogger("sockwave")

# The state of a cluster is the first of these that one of its shards has.
_STATES = ("deaf", "down", "connecting", "up")

_COUNTS = ("deaf_count", "lost_count", "bad_count", "dropped_count", "unknown_count")

#: The client of one shard.
ShardClient = ServerClient[ShardBridge]


class ClusterClient:
    """The client of a cluster that a host has: one client for each shard, behind one bridge."""

    def __init__(
        self,
        url: str,
        loop: Loop,
        *,
        came: Callable[[], object] = lambda: None,
        keeps: bool = True,
    ) -> None:
        """Note what there is, as `BrokerClient` does; `start` connects."""
        #: What the sequencer is to be attached to.
        self.bridge = Bridge(self._schedule)
        self.bridge.have_shards(self._is_away)
        self._name = hide_password(url)
        self._opener = ClusterOpener(url, self.bridge.host)
        self._loop = loop
        self._came = came
        self._keeps = keeps
        self._is_closed = False
        #: The clients of the shards, once it is known which there are; and whose each bucket is.
        self._clients: list[ShardClient] = []
        self._shards: list[ShardBridge] = []
        self._owners: Owners = []
        #: Pattern → the shards from which its messages come.
        self._patterns: dict[str, set[ShardBridge]] = {}
        #: Of shards that are no more.
        self._counts: Counter[str] = Counter()
        self._is_lost = False
        self._is_distributing = False
        self._waits = make_waits()
        self._timer: Timer | None = None
        self._told: dict[str, Any] = {}

    def start(self) -> None:
        """Connect, and go on until `close`."""
        self.told()
        self._find()

    def close(self) -> None:
        """Leave the cluster for good; what waits is sent as far as that is possible at once."""
        if not self._is_closed:
            self._distribute()
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        for client in self._clients:
            client.close()
        self.bridge.lose()

    def abandon(self) -> None:
        """In a forked child, let go of what is the parent's."""
        self._is_closed = True
        for client in self._clients:
            client.abandon()

    @property
    def state(self) -> str:
        """`connecting`, `up`, `down` or `deaf`: that of the shard that is worst off."""
        if not self._clients:
            return "down" if self._is_lost else "connecting"
        found = {client.state for client in self._clients}
        return next(state for state in _STATES if state in found)

    # ---- which shards there are

    def _find(self) -> None:
        """Have a thread find out which shards there are, for the first time."""
        self._timer = None
        threading.Thread(target=self._ask, name="sockwave-cluster", daemon=True).start()

    def _ask(self) -> None:
        """In the thread: ask, and hand over what came of it."""
        try:
            self._tell_owners(self._opener.read_owners())
        except Exception as error:  # of whatever kind the broker's client raises
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._not_found, error)

    def _tell_owners(self, owners: Owners) -> None:
        """In any thread: hand over which server has what."""
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._learn, owners)

    def _not_found(self, error: Exception) -> None:
        """Note that no server tells which shards there are, and ask again."""
        if self._is_closed or self._clients:
            return
        if not self._is_lost:
            logger.warning("the broker %s is away: %s", self._name, error)
        self._is_lost = True
        self.bridge.lose()
        self._distribute()
        self.told()
        self._came()
        self._timer = self._loop.call_later(self._waits.take(), self._find)

    def _learn(self, owners: Owners) -> None:
        """Note which server has what; clients whose shards have others now connect anew."""
        if self._is_closed or owners == self._owners:
            return
        self._owners = owners
        buckets: dict[Place, set[int]] = {}
        for bucket, owner in enumerate(owners):
            buckets.setdefault(owner, set()).add(bucket)
        places = self._match(buckets)
        waiting: list[tuple[bytes, bytes]] = []
        gone: dict[bytes, None] = {}
        for client, place in places.items():
            shard = client.bridge
            has = set() if place is None else buckets[place]
            if place == shard.place and has == shard.buckets:
                continue
            client.lost(ConnectionError("its slots have moved"))
            shard.lose()
            waiting += client.take_waiting() + shard.take_messages()
            # Their streams may be in what another shard has now.
            gone |= dict.fromkeys(shard.streams.take_gone_hosts())
            if place is None:
                self._retire(client)
        for client, place in places.items():
            if place is not None:
                client.bridge.place, client.bridge.buckets = place, frozenset(buckets[place])
        added = [
            self._make(new, frozenset(buckets[new])) for new in buckets.keys() - places.values()
        ]
        self._clients += added
        by_place = {client.bridge.place: client.bridge for client in self._clients}
        self._shards = [by_place[owner] for owner in owners]
        self._hand_out(waiting)
        for shard in by_place.values():
            shard.streams.gone_hosts += gone
        for client in added:
            client.start()
        self._distribute()

    def _match(self, buckets: dict[Place, set[int]]) -> dict[ShardClient, Place | None]:
        """Return where each shard is now: where it was, or where its buckets have gone.

        None: where they are there is another shard.
        """
        known = {client.bridge.place for client in self._clients}
        new = [place for place in buckets if place not in known]
        places: dict[ShardClient, Place | None] = {}
        for client in self._clients:
            shard = client.bridge
            place: Place | None = shard.place if shard.place in buckets else None
            if place is None and new:
                place = max(new, key=lambda one: len(buckets[one] & shard.buckets))
                if buckets[place] & shard.buckets:
                    new.remove(place)
                else:
                    place = None
            places[client] = place
        return places

    def _make(self, place: Place, buckets: frozenset[int]) -> ShardClient:
        """Return a client for a shard that had none."""
        shard = ShardBridge(self.bridge, self, self._name)
        shard.place, shard.buckets = place, buckets
        opener = ShardOpener(self._opener, lambda: shard.buckets, self._tell_owners)
        return ShardClient(shard, shard, opener, self._loop, came=self._came, keeps=self._keeps)

    def _retire(self, client: ShardClient) -> None:
        """Leave a shard that has nothing any more."""
        client.close()
        self._clients.remove(client)
        said = client.told
        self._counts.update({name: said.get(name, 0) for name in _COUNTS if name != "bad_count"})

    # ---- what goes by which shard

    def _is_away(self, name: Wanted) -> bool:
        """Tell whether a shard is away from which a topic comes, or a pattern."""
        if not self._clients:
            return self._is_lost
        if isinstance(name, bytes):
            return self._shards[bucket_of(name)].is_away
        return any(client.bridge.is_away for client in self._clients)

    def _schedule(self) -> None:
        if not self._is_distributing:
            self._is_distributing = True
            self._loop.call_soon(self._distribute)

    def _distribute(self) -> None:
        """Hand over to each shard what is new, and have it go."""
        self._is_distributing = False
        bridge = self.bridge
        changes = bridge.take_changes()
        if self._is_closed:
            return
        if not self._clients:
            if self._is_lost and not self._keeps:
                bridge.drop_waiting()
            return  # all that is wanted is asked for when shards connect
        shards = self._shards
        every = [client.bridge for client in self._clients]
        for name, is_wanted in changes.items():
            for shard in every if isinstance(name, str) else (shards[bucket_of(name)],):
                shard.changes[name] = is_wanted
        self._hand_out(bridge.take_messages())
        if declared := bridge.take_declarations():
            for shard in every:
                shard.declared = declared
        for submission in bridge.placements.take_submissions():
            shards[bucket_of(submission[1])].placements.submissions.append(submission)
        for read in bridge.logs.take_reads():
            shards[bucket_of(read[0])].logs.reads.append(read)
        self._distribute_streams()
        for client in list(self._clients):
            client.flush()

    def _distribute_streams(self) -> None:
        shards, streams = self._shards, self.bridge.streams
        for name in streams.take_looks():
            shards[bucket_of(name)].streams.looks.append(name)
        for read in self.bridge.logs.take_stream_reads():
            shards[bucket_of(read[0])].logs.stream_reads.append(read)
        for delta in streams.take_deltas():
            shards[bucket_of(delta[1])].streams.deltas.append(delta)
        gone = streams.take_gone_hosts()
        for client in self._clients:
            client.bridge.streams.gone_hosts += gone

    def _hand_out(self, messages: Iterable[tuple[bytes, bytes]]) -> None:
        for name, message in messages:
            self._shards[bucket_of(name)].add(name, message)

    # ---- for the shards

    def confirmed(self, pattern: str, shard: ShardBridge) -> None:
        """Note that the messages of a pattern come from a shard."""
        shards = self._patterns.setdefault(pattern, set())
        shards.add(shard)
        if shards >= {client.bridge for client in self._clients if not client.bridge.is_away}:
            self.bridge.confirm(pattern)  # they come from all that are there

    def left(self, pattern: str, shard: ShardBridge) -> None:
        """Note that the messages of a pattern come from a shard no more: nobody wants them."""
        shards = self._patterns.get(pattern, set())
        shards.discard(shard)
        if not shards:
            self._patterns.pop(pattern, None)

    def expected(self) -> None:
        """Note that a shard is there: what came without it does not make a pattern whole."""
        for pattern in self._patterns:
            self.bridge.unconfirm(pattern)

    def lost(self, shard: ShardBridge) -> None:
        """Note that nothing comes from a shard any more."""
        for shards in self._patterns.values():
            shards.discard(shard)

    def told(self) -> None:
        """Tell the workers how the cluster is, unless they know."""
        said = [client.told for client in self._clients]
        counts = {
            name: self._counts[name] + sum(one.get(name, 0) for one in said) for name in _COUNTS
        }
        found = {
            "state": self.state,
            "is_full": any(one.get("is_full", False) for one in said),
            **counts,
        }
        if found != self._told:
            self._told = found
            self.bridge.tell(json.dumps(found).encode())
            self._came()
