"""What a session with a server of NATS does for streams that can be joined late.

JetStream keeps their deltas in a stream of its own (`nats_deltas`), which publishes them anew where
hosts hear the topic.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Protocol

from sockwave.brokers.interface import Appended, Key, Page
from sockwave.brokers.nats_appends import NatsAppends
from sockwave.brokers.nats_delta_pages import NatsDeltaPages
from sockwave.brokers.nats_deltas import DeltaStream, bounds_of_parts
from sockwave.brokers.nats_downloads import NatsDownloads
from sockwave.brokers.nats_ends import NatsEnds
from sockwave.brokers.nats_logs import Logs
from sockwave.brokers.nats_newest import NatsNewest
from sockwave.brokers.nats_parts import LARGE, PartStream
from sockwave.brokers.nats_requests import NatsRequests
from sockwave.brokers.nats_stored import Delta, read_delta
from sockwave.brokers.nats_stream import LogStream
from sockwave.brokers.nats_uploads import NatsUploads
from sockwave.brokers.nats_wire import find_sequence
from sockwave.core.topics.bridge import Bridge

# So long a connection waits for whether its topic is a stream, where the server does not tell now:
# then it is told that it is none, and is sent all of it as soon as that is known.
_PATIENCE_S = 5.0


class Told(Protocol):
    """Whom streams tell: a session's client."""

    def refused(self, error: str) -> None:
        """Note that the broker has refused something."""

    def messages_came(self) -> None:
        """Note that something has come, and is with the bridge."""


class NatsStreams:
    """The streams of one session."""

    def __init__(
        self,
        bridge: Bridge,
        told: Callable[[], Told],
        requests: NatsRequests,
        stream: DeltaStream,
        histories: LogStream,
        parts: PartStream,
        uploads: NatsUploads,
        topics: bytes,
        max_payload: int,
        call_later: Callable[[float, Callable[[], object]], object],
        *,
        is_clustered: bool,
    ) -> None:
        """Note who is asked.

        `topics` is what the subjects begin with on which hosts hear topics.
        """
        self._bridge, self._streams, self._told = bridge, bridge.streams, told
        self._stream = stream
        self._is_clustered = is_clustered
        host = bridge.host.encode()
        self._newest = NatsNewest(stream)
        self._ends = NatsEnds(requests, stream, self._newest, topics, self._streams.found_producer)
        self._logs: Logs[Appended] = Logs(stream.begin)
        self._appends = NatsAppends(
            requests,
            stream,
            self._logs,
            histories,
            self,
            self._ends,
            host,
            max_payload,
            uploads,
            call_later,
        )
        self._downloads = NatsDownloads(parts)
        self._pages = NatsDeltaPages(
            requests,
            stream,
            self._logs,
            self._downloads,
            self._take_page,
            self._unread,
            self._gone,
            self._ends,
            self._streams.found_producer,
        )
        #: Names that are asked for with the next tick, and until when a connection waits for that.
        self._later: dict[bytes, float] = {}
        #: Names of which connections have been told that they are no streams.
        self._again: set[bytes] = set()
        #: Those that were confirmed since the last tick, in a cluster.
        self._fresh: set[bytes] = set()

    # ---- what is asked for

    def append(self, deltas: Iterable[Appended]) -> None:
        """Append deltas: the bridge is told of their places."""
        self._appends.submit(deltas)

    def read(self, name: bytes, number: int, epoch: int, offset: int) -> None:
        """Read a stream behind a position: the bridge gets a page, as that of this number."""
        self._pages.read(name, number, epoch, offset, bounds_of_parts(self.append_size))

    def look(self, names: Sequence[bytes]) -> None:
        """Ask which topics are streams: the bridge is told."""
        until = time.monotonic() + _PATIENCE_S
        self._look(dict.fromkeys(names, until))
        if self._is_clustered:
            self._fresh.update(names)

    def abort(self, host: bytes) -> None:
        """Abort the streams of a host that has gone, unless another host has done it."""
        self._ends.abort(host)

    def tick(self) -> None:
        """Try again what was not possible a moment ago, once a tick, and see how the stream is."""
        self._stream.tick()
        self._appends.tick()
        self._pages.tick()
        self._ends.tick()
        later, self._later = self._later, {}
        if later:
            self._look(later)
        again, self._again = self._again, set()
        if again:
            self._newest.ask(again, partial(self._take_again, again))
        # In a cluster, a subscription is known everywhere a moment after it was confirmed.
        self._again |= self._fresh
        for name in self._fresh:
            self._bridge.logs.read_again(name)
        self._fresh.clear()
        self._stream.look(self._looked)

    def _looked(self, is_to_read: bool) -> None:
        """Read streams again that may have less than was there, or more than has come."""
        if is_to_read:
            self._bridge.logs.read_all(of_streams=True)
            self._again.update(one for one in self._bridge.wanted() if isinstance(one, bytes))

    # ---- whether a topic is a stream

    def _look(self, names: dict[bytes, float]) -> None:
        self._newest.ask(names, partial(self._take_looks, names))

    def _take_looks(self, names: dict[bytes, float], found: dict[bytes, Delta] | None) -> None:
        """Tell which topics are streams; where the server does not, later, or that none is."""
        now = time.monotonic()
        if found is None:
            waiting = {name: until for name, until in names.items() if until > now}
            self._later |= waiting
            self._again |= names.keys() - waiting.keys()
            names = {name: until for name, until in names.items() if until <= now}
            found = {}
        live = self._find_live(found)
        self._streams.seen(list(names), [name in live for name in names])
        self._told().messages_came()

    def _take_again(self, names: set[bytes], found: dict[bytes, Delta] | None) -> None:
        """Tell the news of those that are streams all the same."""
        if found is None:
            self._again |= names
            return
        for name, delta in self._find_live(found).items():
            self._bridge.take(name, b"1s %016x %d\n" % (delta.epoch, delta.offset))
        self._told().messages_came()

    def _find_live(self, found: dict[bytes, Delta]) -> dict[bytes, Delta]:
        """Return the streams that can be read; those that have ended long ago are deleted."""
        live = {}
        for name, delta in found.items():
            if self._stream.is_used and self._stream.is_over(delta):
                self._ends.purge(name, delta.sequence)
            else:
                live[name] = delta
        return live

    # ---- what has come

    def heard(self, name: bytes, head: bytes, message: bytes) -> bytes:
        """Note a delta that was stored, and return what the bridge is to have of it.

        Where it has its parts elsewhere, that is the news that there is something to read.
        """
        sequence = find_sequence(head)
        self._stream.heard(sequence)
        if not self._stream.is_used:
            self._stream.find(_ignore)
        log = self._logs.find(name)
        if log is not None and sequence:
            delta = read_delta(head, message, sequence, self._stream.now_ms())
            if delta is not None:
                log.note_delta(delta)
        begin = message.find(b"\n") + 1
        return message[:begin] if message.startswith(LARGE, begin) else message

    def _take_page(self, name: bytes, number: int, page: Page) -> None:
        self._bridge.logs.read(name, number, *page)
        self._told().messages_came()

    def _unread(self, name: bytes, number: int, error: str) -> None:
        self._told().refused(error)
        self._bridge.logs.unread(name, number)
        self._told().messages_came()

    def _gone(self, name: bytes, number: int) -> None:
        self._bridge.logs.gone(name, number)
        self._told().messages_came()

    # ---- what became of deltas

    @property
    def append_size(self) -> int:
        """How many bytes of deltas a stream has at most."""
        return self._streams.append_size

    def appended(self, key: Key, epoch: int, offset: int, *, is_producer: bool) -> None:
        """Note where a delta stands, and whether its worker is the one that began the stream."""
        self._streams.answered(key, epoch, offset, is_producer=is_producer)
        self._told().messages_came()

    def not_appended(self, key: Key, code: bytes) -> None:
        """Note that a delta cannot be appended, and why, in a word."""
        self._streams.refused(key, code)
        self._told().messages_came()

    def delta_refused(self, key: Key, error: str) -> None:
        """Note that the broker has not taken a delta, and why."""
        self._told().refused(error)
        self._streams.refused(key, error.encode())
        self._told().messages_came()


def _ignore(_: str | None) -> None:
    """Do without: what is asked for next says why."""
