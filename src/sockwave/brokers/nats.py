"""NATS: publish/subscribe over one connection, by its own protocol, for which no package is needed.

https://docs.nats.io/reference/reference-protocols/nats-protocol
"""

import json
import re
import socket
import ssl
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from sockwave.brokers.errors import PERMANENT_ERRORS, read_port
from sockwave.brokers.interface import Bounds, Listener, Loop, StreamKeeper, Submitted, Wanted
from sockwave.brokers.nats_publishing import NatsPublishing
from sockwave.brokers.nats_subjects import name_of, subject_of
from sockwave.brokers.sockets import BrokerSocket
from sockwave.core.topics.bridge import Bridge
from sockwave.core.topics.parts import PART_SIZE
from sockwave.core.topics.wildcards import Patterns
from sockwave.errors import SockwaveError

_PORT = 4222

# For a server that is there; meanwhile a thread waits, and not the loop.
_CONNECT_S = 2.0

# Nothing more is published while so much waits to be sent.
_FULL_SIZE = 1 << 20

# INFO is the longest line: a cluster lists its servers there.
_MAX_LINE_SIZE = 64 << 10

# What a message of ours has at most: a part, or a small one, behind its first line.
_MAX_SIZE = PART_SIZE + (64 << 10)

# A part of a message of another program may be larger, as far as the server lets it.
_MAX_RECEIVED_SIZE = 65 << 20

#: What the names of subjects begin with, unless the URL has another `prefix`.
PREFIX = "sockwave"

_CANARY, _BROADCASTS, _FIRST_SID = b"1", b"2", 3


class NatsOpener:
    """Reaches one server."""

    def __init__(self, url: str, host: str) -> None:
        """Read the URL. Raises ValueError for what is none."""
        self._port = read_port(url) or _PORT
        parts = urlsplit(url)
        settings = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self._prefix = settings.pop("prefix", PREFIX)
        if not re.fullmatch(r"[\w-]+", self._prefix, re.ASCII):
            raise ValueError(f"broker: expected a prefix of letters, given {self._prefix!r}")
        self._ca = settings.pop("ssl_ca_certs", None)
        if settings:
            raise ValueError(
                f"broker: expected the settings prefix and ssl_ca_certs, given {min(settings)!r}"
            )
        self._host = parts.hostname or "localhost"
        self._needs_tls = parts.scheme.lower() == "tls"
        self._said = {
            "verbose": False,
            "pedantic": False,
            "tls_required": self._needs_tls,
            "lang": "python",
            "version": "1",
            "protocol": 1,
            "name": f"sockwave-{host}",
        }
        user = unquote(parts.username or "")
        if parts.password is not None:
            self._said |= {"user": user, "pass": unquote(parts.password)}
        elif user:
            self._said["auth_token"] = user

    def connect(self, within_s: float = _CONNECT_S) -> socket.socket:
        """Connect, and have the server let us in."""
        sock = socket.create_connection((self._host, self._port), min(within_s, _CONNECT_S))
        try:
            return self._enter(sock)
        except BaseException:
            sock.close()
            raise

    def _enter(self, sock: socket.socket) -> socket.socket:
        info = json.loads(read_line(sock).removeprefix(b"INFO "))
        if self._needs_tls or info.get("tls_required"):
            context = ssl.create_default_context(cafile=self._ca)
            sock = context.wrap_socket(sock, server_hostname=self._host)
        if info.get("max_payload", 0) < _MAX_SIZE:
            raise SockwaveError(f"NATS: expected a max_payload of at least {_MAX_SIZE} bytes")
        sock.sendall(b"CONNECT %b\r\nPING\r\n" % json.dumps(self._said).encode())
        while (line := read_line(sock)) != b"PONG":
            if line.startswith(b"-ERR"):
                raise SockwaveError(f"NATS: {line[5:].decode('utf-8', 'replace')}")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def connect_publishing(self, within_s: float) -> NatsPublishing:
        """Connect to publish only, and block meanwhile."""
        try:
            return NatsPublishing(self.connect(within_s), self._prefix)
        except PERMANENT_ERRORS as error:
            raise SockwaveError(f"{error}") from error

    def open(self, connected: object, loop: Loop, bridge: Bridge) -> "NatsSession":
        """Make a session of the connection."""
        assert isinstance(connected, socket.socket)
        return NatsSession(loop, bridge, connected, self._prefix)

    def discard(self, connected: object) -> None:
        """Close the connection."""
        assert isinstance(connected, socket.socket)
        connected.close()


def read_line(sock: socket.socket) -> bytes:
    """Read one line, and nothing behind it: there TLS may begin."""
    line = bytearray()
    while not line.endswith(b"\r\n"):
        byte = sock.recv(1)
        if not byte or len(line) > _MAX_LINE_SIZE:
            raise ConnectionError("NATS: expected a line of a server")
        line += byte
    return bytes(line[:-2])


class NatsSession:
    """One connection to one server."""

    #: The server keeps no streams.
    streams: StreamKeeper | None = None

    def __init__(self, loop: Loop, bridge: Bridge, sock: socket.socket, prefix: str) -> None:
        self._loop = loop
        self._bridge = bridge
        self._connected = sock
        begin = prefix.encode()
        self._topics = begin + b".t."
        self._broadcasts = begin + b".b"
        self._canary = begin + b".c." + bridge.host.encode()
        self._last_sid = _FIRST_SID - 1
        self._sids: dict[Wanted, bytes] = {}
        self._names: dict[bytes, Wanted] = {}
        #: What the server has confirmed, by a PONG behind it.
        self._confirmed: set[Wanted] = set()
        self._patterns: Patterns = Patterns()
        #: What each PONG to come says: that these are confirmed; None: that the canary was taken.
        self._pongs: list[list[Wanted] | None] = []
        self._input = b""
        self._sent_count = 0
        self.heard_count = 0

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
        self._socket.write(
            b"SUB %b %b\r\nSUB %b %b\r\n" % (self._canary, _CANARY, self._broadcasts, _BROADCASTS)
        )
        listener.ready()  # one connection: the canary cannot come before its subscription

    def abandon(self) -> None:
        """In a forked child, let go of what is the parent's."""
        self._socket.abandon()

    def close(self) -> None:
        """End the session."""
        self._socket.close()

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
            commands.append(b"PUB %b %d\r\n%b\r\n" % (subject, len(message), message))
        self._sent_count += len(commands)
        self._socket.write(b"".join(commands))

    def submit(self, messages: Iterable[Submitted]) -> None:
        """Raise SockwaveError: no topic has a history by NATS."""
        raise SockwaveError("NATS: expected no topic with a history")

    def read_log(self, name: bytes, number: int, epoch: int, offset: int, bounds: Bounds) -> None:
        """Raise SockwaveError: no topic has a history by NATS."""
        raise SockwaveError("NATS: expected no topic with a history")

    def declare(self, declared: Iterable[tuple[str, Bounds | None]]) -> None:
        """Do nothing: who publishes by NATS asks for no history."""

    def tell_hosts(self, messages: Iterable[bytes]) -> None:
        """Raise SockwaveError: no topic has presence by NATS."""
        raise SockwaveError("NATS: expected no topic with presence")

    def probe(self) -> None:
        """Send the canary."""
        self._pongs.append(None)
        self._socket.write(b"PUB %b 0\r\n\r\nPING\r\n" % self._canary)

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
                self._listener.confirmed(name)

    # ---- what comes

    def _take(self, data: bytes) -> None:
        self.heard_count += 1
        data = self._input + data if self._input else data
        place, has_messages = 0, False
        while (end := data.find(b"\r\n", place, place + _MAX_LINE_SIZE)) >= 0:
            if not data.startswith(b"MSG ", place):
                self._take_line(data[place:end])
                place = end + 2
                continue
            words = data[place:end].split(b" ")
            size = parse_size(words)
            if len(data) < end + 4 + size:
                break
            has_messages |= self._take_message(words[1], words[2], data[end + 2 : end + 2 + size])
            place = end + 4 + size
        else:
            if len(data) - place >= _MAX_LINE_SIZE:
                raise SockwaveError("NATS: expected a line to end")
        self._input = data[place:]
        if has_messages:
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
            self._listener.refused(line[5:].decode("utf-8", "replace"))
        elif not line.startswith((b"+OK", b"INFO")):
            raise SockwaveError(f"NATS: expected a line of a server, given {line[:40]!r}")

    def _take_message(self, subject: bytes, sid: bytes, message: bytes) -> bool:
        """Hand a message over; return whether it was one for our links."""
        if sid == _CANARY:
            self._listener.probe_heard()
            return False
        if sid == _BROADCASTS:
            self._bridge.broadcast(message)
            return True
        wanted = self._names.get(sid)
        if wanted is None:
            return False  # left meanwhile
        name = name_of(subject.removeprefix(self._topics))
        if self._patterns.count and not self._is_first(wanted, name):
            return False
        return self._bridge.take(name, message)

    def _is_first(self, wanted: Wanted, name: bytes) -> bool:
        """Tell whether a message that comes for each of our subscriptions counts for this one.

        That is the name's own, once it is confirmed, else the first pattern that matches.
        """
        if name in self._confirmed:
            return wanted == name
        matching: list[Any] = self._patterns.match(name.decode("utf-8", "replace"))
        return wanted == min(matching) if matching else True


def parse_size(words: list[Any]) -> int:
    """Return the size that the line of a message announces. Raises SockwaveError."""
    size = words[-1]
    if len(words) not in (4, 5) or not size.isdigit() or len(size) > 9:
        raise SockwaveError("NATS: expected the line of a message")
    if int(size) > _MAX_RECEIVED_SIZE:
        raise SockwaveError(f"NATS: expected up to {_MAX_RECEIVED_SIZE} bytes, given {int(size)}")
    return int(size)
