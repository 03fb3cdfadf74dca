"""NATS: publish/subscribe over one connection, by its own protocol, for which no package is needed.

What topics keep is JetStream's: its streams have their messages, and publish anew what they have
stored.
"""

import socket
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

from sockwave.brokers.interface import (
    Bounds,
    Key,
    Listener,
    Loop,
    Page,
    Submitted,
    Wanted,
)
from sockwave.brokers.nats_answers import NoLogs
from sockwave.brokers.nats_declarations import DeclarationStream, NatsDeclarations
from sockwave.brokers.nats_deltas import DeltaStream
from sockwave.brokers.nats_downloads import NatsDownloads
from sockwave.brokers.nats_logs import Logs
from sockwave.brokers.nats_pages import NatsPages
from sockwave.brokers.nats_parts import LARGE, PartStream
from sockwave.brokers.nats_places import NatsPlaces
from sockwave.brokers.nats_requests import NatsRequests
from sockwave.brokers.nats_stored import read_place
from sockwave.brokers.nats_stream import LogStream
from sockwave.brokers.nats_streams import NatsStreams
from sockwave.brokers.nats_subjects import name_of, subject_of
from sockwave.brokers.nats_uploads import NatsUploads
from sockwave.brokers.nats_wire import (
    NatsReader,
    find_refused,
    find_sequence,
    pack_message,
)
from sockwave.brokers.sockets import BrokerSocket
from sockwave.core.topics.bridge import Bridge
from sockwave.core.topics.wildcards import Patterns
from sockwave.errors import SockwaveError

# Nothing more is published while so much waits to be sent.
_FULL_SIZE = 1 << 20

# So long a host that has connected is not up as its topics are being declared.
_DECLARING_S = 1.0

# Of names that were confirmed before there is a stream: so many may have a log all the same.
_FRESH_COUNT = 100

_CANARY, _BROADCASTS, _MEMBERS, _ANSWERS, _FIRST_SID = b"1", b"2", b"3", b"4", 5


class NatsConnected(NamedTuple):
    """A connection that a server has let in."""

    socket: socket.socket
    #: The size of a message with its headers at most.
    max_payload: int
    #: Why it keeps no logs, if that is so.
    refusal: NoLogs | None
    is_clustered: bool


class NatsSession:
    """One connection to one server."""

    def __init__(
        self,
        loop: Loop,
        bridge: Bridge,
        connected: NatsConnected,
        prefix: str,
        replica_count: int,
    ) -> None:
        self._loop = loop
        self._bridge = bridge
        self._connected = connected.socket
        begin = prefix.encode()
        self._topics = begin + b".t."
        self._broadcasts = begin + b".b"
        self._members = begin + b".h"
        self._canary = begin + b".c." + bridge.host.encode()
        self._last_sid = _FIRST_SID - 1
        self._sids: dict[Wanted, bytes] = {}
        self._names: dict[bytes, Wanted] = {}
        #: What the server has confirmed, by a PONG behind it.
        self._confirmed: set[Wanted] = set()
        self._patterns: Patterns = Patterns()
        #: What each PONG to come says: that these are confirmed; None: that the canary was taken.
        self._pongs: list[list[Wanted] | None] = []
        self._reader = NatsReader(self._take_line, self._take_message)
        self._has_messages = False
        self._is_clustered = connected.is_clustered
        #: Names that were confirmed since the stream was last looked at, and in the turn before.
        self._fresh: list[bytes] = []
        self._known_elsewhere: list[bytes] = []
        self._sent_count = 0
        self.heard_count = 0
        self._requests = NatsRequests(self._write, begin)
        self._stream = LogStream(self._requests, begin, replica_count, connected.refusal)
        parts = PartStream(self._requests, begin, replica_count, connected.refusal)
        self._logs: Logs[Submitted] = Logs(self._stream.begin)
        host = bridge.host.encode()
        uploads = NatsUploads(self._requests, parts)
        self._places = NatsPlaces(
            self._requests,
            self._stream,
            self._logs,
            self,
            host,
            connected.max_payload,
            uploads,
            loop.call_later,
        )
        self._pages = NatsPages(
            self._requests,
            self._stream,
            self._logs,
            NatsDownloads(parts),
            self._take_page,
            self._unread,
        )
        self._parts = parts
        self._deltas = DeltaStream(self._requests, begin, replica_count, connected.refusal)
        self.streams = NatsStreams(
            bridge,
            self._find_listener,
            self._requests,
            self._deltas,
            self._stream,
            parts,
            uploads,
            self._topics,
            connected.max_payload,
            loop.call_later,
            is_clustered=connected.is_clustered,
        )
        self._declared = DeclarationStream(self._requests, begin, replica_count, connected.refusal)
        self._declarations = NatsDeclarations(
            self._requests, self._declared, self._stream, self._not_declared, self._all_declared
        )
        self._declaring_until = time.monotonic() + _DECLARING_S

    def begin(self, listener: Listener) -> None:
        """Start to read, and subscribe to broadcasts and to the canary."""
        self._listener = listener
        self._socket = BrokerSocket(
            self._loop,
            self._connected,
            took=self._take,
            lost=listener.lost,
            drained=listener.drained,
        )
        for subject, sid in (
            (self._canary, _CANARY),
            (self._broadcasts, _BROADCASTS),
            (self._members, _MEMBERS),
            (self._requests.subject, _ANSWERS),
        ):
            self._socket.write(b"SUB %b %b\r\n" % (subject, sid))
        listener.ready()  # one connection: the canary cannot come before its subscription

    def _find_listener(self) -> Listener:
        return self._listener

    def abandon(self) -> None:
        """In a forked child, let go of what is the parent's."""
        self._socket.abandon()

    def close(self) -> None:
        """End the session."""
        self._socket.close()

    def _write(self, data: bytes) -> None:
        self._socket.write(data)

    # ---- publishing

    @property
    def is_full(self) -> bool:
        """Whether so much waits to be sent that nothing should be added."""
        return self._socket.waiting_size >= _FULL_SIZE

    @property
    def answer_count(self) -> int:
        """How often bytes have come: there is one connection."""
        return self.heard_count

    @property
    def unanswered_count(self) -> int:
        """How many messages were sent since the last PONG that is behind all before."""
        return self._sent_count

    def publish(self, messages: Iterable[tuple[bytes, bytes]]) -> None:
        """Publish messages, in one write."""
        commands = []
        for name, message in messages:
            subject = self._topics + subject_of(name) if name else self._broadcasts
            commands.append(pack_message(subject, message))
        self._sent_count += len(commands)
        self._socket.write(b"".join(commands))

    def submit(self, messages: Iterable[Submitted]) -> None:
        """Publish messages on topics that have a history: the bridge is told of their places."""
        self._places.submit(messages)

    def placed(self, key: Key, epoch: int, offset: int) -> None:
        """Note where a message stands."""
        self._bridge.placements.answered(key, epoch, offset)
        self._listener.messages_came()

    def refused(self, key: Key, error: str) -> None:
        """Note that a message was not taken, and why."""
        self._listener.refused(error)
        self._bridge.placements.refused(key, str(error))
        self._listener.messages_came()

    def read_log(self, name: bytes, number: int, epoch: int, offset: int, bounds: Bounds) -> None:
        """Read a log behind a position: the bridge gets a page, as that of this number."""
        self._pages.read(name, number, epoch, offset, bounds)

    def _take_page(self, name: bytes, number: int, page: Page) -> None:
        self._bridge.logs.read(name, number, *page)
        self._listener.messages_came()

    def _unread(self, name: bytes, number: int, error: str) -> None:
        self._listener.refused(error)
        self._bridge.logs.unread(name, number)
        self._listener.messages_came()

    def declare(self, declared: Iterable[tuple[str, Bounds | None]]) -> None:
        """Tell programs that are no hosts what is kept of topics; None: they are plain ones."""
        self._declarations.declare(declared)

    @property
    def is_declaring(self) -> bool:
        """Whether that is about to be told; not for long, where the stream has no leader."""
        return self._declarations.is_busy and time.monotonic() < self._declaring_until

    def _not_declared(self, error: str) -> None:
        self._listener.refused(error)

    def _all_declared(self) -> None:
        self._listener.declared()

    def tell_hosts(self, messages: Iterable[bytes]) -> None:
        """Tell all hosts of members: the bridge of each hears that."""
        self._socket.write(b"".join(pack_message(self._members, one) for one in messages))

    def probe(self) -> None:
        """Send the canary, and see how the stream is."""
        self._pongs.append(None)
        self._socket.write(b"PUB %b 0\r\n\r\nPING\r\n" % self._canary)
        self._requests.time_out()
        self._stream.tick()
        self._parts.tick()
        self._declared.tick()
        self._declarations.tick()
        self._places.tick()
        self._pages.tick()
        self.streams.tick()
        if self._stream.is_there:
            self._stream.look(self._looked)
        else:
            del self._fresh[:-_FRESH_COUNT]
        self._declared.look(self._looked_at_declared)

    def _looked_at_declared(self, is_lost: bool) -> None:
        """Have all declared again that the server may have lost."""
        if is_lost:
            self._declarations.forget()
            self._bridge.declare_again()

    def _looked(self, is_to_read: bool) -> None:
        """Read logs again that may have more than has come.

        In a cluster, a subscription is known everywhere a moment after it was confirmed.
        """
        if is_to_read:
            self._bridge.logs.read_all()
            self._declarations.forget()  # what is said anew has the stream made, if it has gone
            self._bridge.declare_again()
        else:
            for name in self._known_elsewhere:
                self._bridge.logs.read_again(name)
        self._known_elsewhere, self._fresh = self._fresh, []

    # ---- subscribing

    def subscribe(self, names: Iterable[Wanted]) -> None:
        """Ask for topics and patterns; one PONG confirms them all."""
        commands = []
        asked = list(names)
        for name in asked:
            self._last_sid += 1
            sid = b"%d" % self._last_sid
            self._sids[name] = sid
            self._names[sid] = name
            commands.append(b"SUB %b%b %b\r\n" % (self._topics, subject_of(name), sid))
        if asked:
            self._pongs.append(asked)
            self._socket.write(b"".join(commands) + b"PING\r\n")

    def unsubscribe(self, names: Iterable[Wanted]) -> None:
        """Ask for them no more."""
        commands = []
        for name in names:
            sid = self._sids.pop(name)
            del self._names[sid]
            self._confirmed.discard(name)
            if isinstance(name, str):
                self._patterns.remove(name)
            commands.append(b"UNSUB %b\r\n" % sid)
        self._socket.write(b"".join(commands))

    def _confirm(self, names: list[Wanted]) -> None:
        for name in names:
            if name in self._sids:
                self._confirmed.add(name)
                if isinstance(name, str):
                    self._patterns.add(name, name)
                elif self._is_clustered:
                    self._fresh.append(name)
                self._listener.confirmed(name)

    # ---- what comes

    def _take(self, data: bytes) -> None:
        self.heard_count += 1
        self._reader.take(data)
        if self._has_messages:
            self._has_messages = False
            self._listener.messages_came()

    def _take_line(self, line: bytes) -> None:
        if line == b"PING":
            self._socket.write(b"PONG\r\n")
        elif line == b"PONG":
            if not self._pongs:
                raise SockwaveError("NATS: expected no PONG")
            confirmed = self._pongs.pop(0)
            if confirmed is None:
                self._sent_count = 0
                self._listener.probe_answered(1)
            else:
                self._confirm(confirmed)
        elif line.startswith(b"-ERR"):
            self._take_error(line[5:])
        elif line.startswith(b"INFO"):
            self._stream.doubt()
            self._deltas.doubt()
        elif not line.startswith(b"+OK"):
            raise SockwaveError(f"NATS: expected a line of a server, given {line[:40]!r}")

    def _take_error(self, error: bytes) -> None:
        subject = find_refused(error)
        if subject == self._requests.subject:
            self._stream.refuse(error)
            self._parts.refuse(error)
            self._deltas.refuse(error)
            self._declared.refuse(error)
            self._requests.forbid_all(error)
        elif not self._requests.forbid(subject, error):
            self._listener.refused(error.decode("utf-8", "replace"))

    def _take_message(self, subject: bytes, sid: bytes, head: bytes, message: bytes) -> None:
        """Hand a message over; note whether it was one for our links."""
        if sid == _CANARY:
            self._listener.probe_heard()
        elif sid == _BROADCASTS:
            self._bridge.broadcast(message)
            self._has_messages = True
        elif sid == _MEMBERS:
            self._bridge.hear(message)
            self._has_messages = True
        elif sid == _ANSWERS:
            self._requests.take(subject, head, message)
        elif (wanted := self._names.get(sid)) is not None:  # else it was left meanwhile
            name = name_of(subject.removeprefix(self._topics))
            if self._patterns.count and not self._is_first(wanted, name):
                return
            if head and message.startswith(b"1o "):
                message = self._note_stored(name, head, message)
            elif head and message.startswith(b"1s "):
                message = self.streams.heard(name, head, message)
            if message:
                self._has_messages |= self._bridge.take(name, message)

    def _note_stored(self, name: bytes, head: bytes, message: bytes) -> bytes:
        """Note a message that was stored, and return what the bridge is to have of it.

        Where another log begins, or a message has its parts elsewhere, that is the news that there
        is something to read.
        """
        place = read_place(message)
        sequence = find_sequence(head)
        if place is None or not sequence:
            return message
        self._stream.heard(sequence)
        is_other = self._logs.heard(name, *place, sequence)
        if place[1]:
            begin = message.index(b"\n") + 1
            return message[:begin] if message.startswith(LARGE, begin) else message
        return b"1o %016x 1\n" % place[0] if is_other else b""

    def _is_first(self, wanted: Wanted, name: bytes) -> bool:
        """Tell whether a message that comes for each of our subscriptions counts for this one.

        That is the name's own, once it is confirmed, else the first pattern that matches.
        """
        if name in self._confirmed:
            return wanted == name
        matching: list[Any] = self._patterns.match(name.decode("utf-8", "replace"))
        return wanted == min(matching) if matching else True
