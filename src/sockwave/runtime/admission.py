"""Who may come in: connections in all, those of one address, and handshakes under way.

At a cap, newcomers are accepted and told so, with an answer of HTTP: a proxy in front takes them
elsewhere at once, where a socket that nobody accepts would keep them, and whoever stands behind
them, until they lose patience.
"""

import sys
from typing import TYPE_CHECKING, TypeAlias

from sockwave.address import Address, parse_address
from sockwave.core.io.receiver import PyReceiver
from sockwave.core.io.transport import Transport
from sockwave.core.opening.newcomer import Gate, PendingConnection
from sockwave.core.session.hub import Hub
from sockwave.handshake import check_origin_and_subprotocol
from sockwave.http.serialize import serialize_response
from sockwave.limits import Limits, OverLimit
from sockwave.log import peers
from sockwave.options import Options
from sockwave.tls_info import TLSInfo

if TYPE_CHECKING:
    from sockwave.core.opening.newcomer import AcceptHooks

# Descriptors that are no connections: listening sockets, files, and those of whom is turned away.
_SPARE_COUNT = 64

# Of those, what the last answers may have. Who is turned away beyond them is just hung up on.
_FAREWELL_COUNT = 32

# Where the system names no limit (Windows): as many as one address can have ports.
_COUNT_WITHOUT_LIMIT = 1 << 16

#: An IPv4 address, or the first half of an IPv6 one.
Network: TypeAlias = str | bytes


class Farewell(PyReceiver):
    """Stands behind a transport that was turned away, until it has gone."""

    __slots__ = ("_others",)

    def __init__(self, others: "set[Farewell]") -> None:
        self._others = others
        others.add(self)

    def connection_lost(self, error: OSError | None) -> None:
        """Leave the place to another."""
        self._others.discard(self)


def resolve_max_connections(limits: Limits) -> int | None:
    """Give the option `max_connections` as a number; None for no limit."""
    if not isinstance(limits.max_connections, str):
        return limits.max_connections
    if sys.platform == "win32":  # pragma: no cover - which has no such limit
        return _COUNT_WITHOUT_LIMIT
    import resource

    count, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if count == resource.RLIM_INFINITY:
        return _COUNT_WITHOUT_LIMIT
    return max(count - _SPARE_COUNT, count // 2)


def network_of(address: Address) -> Network | None:
    """Give what connections are counted for: a household; None where there is no address."""
    if not isinstance(address, tuple):
        return None
    host: str = address[0]
    if ":" not in host:
        return host
    parsed = parse_address(host)
    return str(parsed) if parsed.version == 4 else parsed.packed[:8]


class Admission(Gate):
    """Lets connections in, or turns them away."""

    def __init__(self, host: "AcceptHooks", hub: Hub, options: Options) -> None:
        self._engine = engine = hub.engine
        self._limits = limits = options.limits
        self._hub = hub
        self._max_connections = resolve_max_connections(limits)
        trusts_proxies = bool(options.proxy_protocol or options.trusted_proxies)
        counts_addresses = limits.max_connections_per_address is not None
        super().__init__(
            host,
            hub,
            check_origin_and_subprotocol,
            limits=limits,
            max_connections=self._max_connections,
            compression=options.compression,
            origin_policy=options.origin,
            subprotocols=options.subprotocol,
            asks_addresses=trusts_proxies or counts_addresses,
            asks_nobody=(
                options.authorize is None
                and not callable(options.origin)
                and not callable(options.subprotocol)
                and not options.trusted_proxies
                and "rfc6455" in options.version
            ),
        )
        engine.acceptor = self
        self._farewells: set[Farewell] = set()
        # Only where they are counted.
        self._networks: dict[Transport, Network] = {}
        self._counts: dict[Network, int] = {}
        #: What proxies have told of the TLS of their clients, who are still connected.
        self.told: dict[Transport, TLSInfo] = {}
        if counts_addresses or options.proxy_protocol:
            engine.when_departed = self._forget

    # ---- at accept

    def enter(self, transport: Transport, address: Address) -> bool:
        """Let a new connection in, or answer it and give False.

        `address` is what it is counted for; None where that is to be told yet.
        """
        try:
            self._find_room()
            self.count_address(transport, address)
            self._find_handshake()
        except OverLimit as refused:
            self.turn_away(transport, refused)
            return False
        return True

    def _find_room(self) -> None:
        """Raise OverLimit when there are too many connections."""
        count = self._engine.transport_count - len(self._farewells)
        if self._max_connections is not None and count > self._max_connections:
            raise OverLimit("max_connections", 503, "too many connections\n")
        if self._hub.is_short:
            raise OverLimit("memory_budget", 503, "too little memory\n")

    def count_address(self, transport: Transport, address: Address) -> None:
        """Count a connection for the address of its peer, in place of one that it was counted for.

        Called as soon as the peer's own address is known, which may be after accept where a proxy
        tells it. Raises OverLimit when it has too many. A Unix socket's peers are not counted.
        """
        most = self._limits.max_connections_per_address
        if most is None:
            return
        self._forget_address(transport)
        network = network_of(address)
        if network is None:
            return
        count = self._counts.get(network, 0)
        if count >= most:
            raise OverLimit(
                "max_connections_per_address", 429, "too many connections from your address\n"
            )
        self._counts[network] = count + 1
        self._networks[transport] = network

    def note_security(self, transport: Transport, facts: TLSInfo) -> None:
        """Keep what a proxy has told of a connection's TLS, until it has gone."""
        self.told[transport] = facts

    def _forget(self, transport: Transport) -> None:
        """Count a connection no more, and forget what was told of it."""
        self.told.pop(transport, None)
        self._forget_address(transport)

    def _forget_address(self, transport: Transport) -> None:
        """Count a connection no more."""
        network = self._networks.pop(transport, None)
        if network is not None:
            self._counts[network] -= 1
            if not self._counts[network]:
                del self._counts[network]

    def turn_away(self, transport: Transport, refused: OverLimit) -> None:
        """Answer a connection of which nothing has been read, and end it."""
        self._engine.limit_counters.count_by_name(refused.limit)
        peers.warning("%s is turned away: %s", transport, refused.limit)
        if len(self._farewells) >= _FAREWELL_COUNT:
            transport.abort()
            return
        transport.receiver = Farewell(self._farewells)
        transport.write(serialize_response(refused.status, refused.headers, refused.body))
        transport.close()

    # ---- handshakes under way

    def _find_handshake(self) -> None:
        """Make room for one more handshake.

        The one that has waited for its peer longest has to go: so slow clients, however many, keep
        nobody out who is quick. Where all wait for the application, raises OverLimit.
        """
        most = self._limits.max_handshakes
        while most is not None and len(self.expected) + len(self.undecided) >= most:
            refused = OverLimit("max_handshakes", 503, "too many handshakes are under way\n")
            transport = next(iter(self.expected), None)
            if transport is None:
                raise refused
            oldest = self.expected[transport]
            self.end_handshake(transport)
            oldest.dismiss(refused)

    def pending_connections(self) -> list[PendingConnection]:
        """Give those that have not yet asked for anything."""
        return [one for one in self.expected.values() if isinstance(one, PendingConnection)]
