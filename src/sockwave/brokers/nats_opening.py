"""How a server of NATS is reached, for a host and for a program that publishes only."""

import json
import re
import socket
import ssl
from urllib.parse import parse_qs, unquote, urlsplit

from sockwave.brokers.errors import PERMANENT_ERRORS, read_port
from sockwave.brokers.interface import Loop
from sockwave.brokers.nats import NatsConnected, NatsSession
from sockwave.brokers.nats_answers import check_version
from sockwave.brokers.nats_identity import NatsIdentity
from sockwave.brokers.nats_publishing import NatsPublishing
from sockwave.brokers.nats_wire import MAX_LINE_SIZE
from sockwave.core.topics.bridge import Bridge
from sockwave.core.topics.parts import PART_SIZE
from sockwave.errors import SockwaveError

_PORT = 4222

# For a server that is there; meanwhile a thread waits, and not the loop.
_CONNECT_S = 2.0

# What a message of ours has at most: a part, or a small one, behind its first line.
_MAX_SIZE = PART_SIZE + (64 << 10)

#: What the names of subjects begin with, unless the URL has another `prefix`.
PREFIX = "sockwave"

_MAX_REPLICA_COUNT = 5  # of JetStream


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
        self._replica_count = read_replica_count(settings.pop("replicas", "1"))
        password = None if parts.password is None else unquote(parts.password)
        self._identity = NatsIdentity(
            unquote(parts.username or ""),
            password,
            settings.pop("nkeys_seed", None),
            settings.pop("user_credentials", None),
        )
        if settings:
            raise ValueError(
                "broker: expected the settings prefix, ssl_ca_certs, nkeys_seed, user_credentials "
                f"and replicas, given {min(settings)!r}"
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
            "headers": True,
            "no_responders": True,
            "name": f"sockwave-{host}",
        }

    def connect(self, within_s: float = _CONNECT_S) -> NatsConnected:
        """Connect, and have the server let us in."""
        sock = socket.create_connection((self._host, self._port), min(within_s, _CONNECT_S))
        try:
            return self._enter(sock)
        except BaseException:
            sock.close()
            raise

    def _enter(self, sock: socket.socket) -> NatsConnected:
        info = json.loads(read_line(sock).removeprefix(b"INFO "))
        if self._needs_tls or info.get("tls_required"):
            context = ssl.create_default_context(cafile=self._ca)
            sock = context.wrap_socket(sock, server_hostname=self._host)
        max_payload = info.get("max_payload", 0)
        if not info.get("headers"):
            raise SockwaveError("NATS: expected a server that knows headers, from 2.2 on")
        if max_payload < _MAX_SIZE:
            raise SockwaveError(f"NATS: expected a max_payload of at least {_MAX_SIZE} bytes")
        said = self._said | self._identity.introduce(info.get("nonce"))
        sock.sendall(b"CONNECT %b\r\nPING\r\n" % json.dumps(said).encode())
        while (line := read_line(sock)) != b"PONG":
            if line.startswith(b"-ERR"):
                raise SockwaveError(f"NATS: {line[5:].decode('utf-8', 'replace')}")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return NatsConnected(sock, max_payload, check_version(info), is_clustered="cluster" in info)

    def connect_publishing(self, within_s: float) -> NatsPublishing:
        """Connect to publish only, and block meanwhile."""
        try:
            sock, max_payload, refusal, _ = self.connect(within_s)
            return NatsPublishing(sock, self._prefix, max_payload, refusal, self._replica_count)
        except PERMANENT_ERRORS as error:
            raise SockwaveError(f"{error}") from error

    def open(self, connected: object, loop: Loop, bridge: Bridge) -> NatsSession:
        """Make a session of the connection."""
        assert isinstance(connected, NatsConnected)
        return NatsSession(loop, bridge, connected, self._prefix, self._replica_count)

    def discard(self, connected: object) -> None:
        """Close the connection."""
        assert isinstance(connected, NatsConnected)
        connected.socket.close()


def read_replica_count(text: str) -> int:
    """Return how many servers of a cluster are to keep what topics keep. Raises ValueError."""
    if not text.isdecimal() or not 1 <= int(text) <= _MAX_REPLICA_COUNT:
        raise ValueError(f"broker: expected 1 to {_MAX_REPLICA_COUNT} replicas, given {text!r}")
    return int(text)


def read_line(sock: socket.socket) -> bytes:
    """Read one line, and nothing behind it: there TLS may begin."""
    line = bytearray()
    while not line.endswith(b"\r\n"):
        byte = sock.recv(1)
        if not byte or len(line) > MAX_LINE_SIZE:
            raise ConnectionError("NATS: expected a line of a server")
        line += byte
    return bytes(line[:-2])
