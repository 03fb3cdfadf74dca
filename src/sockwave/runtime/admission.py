"""Admission of new connections: limits on all connections, those per address, and handshakes.

At a limit, a new connection is accepted and answered with an HTTP error: a proxy in front then
tries another server at once. If the connection stayed in the accept queue instead, it and those
behind it would wait until their clients give up.
"""

import sys
from typing import TYPE_CHECKING, TypeAlias

from sockwave.address import Address, parse_address
from sockwave.core.http.route_table import RouteTable
from sockwave.core.io.receiver import PyReceiver
from sockwave.core.io.transport import Transport
from sockwave.core.opening.newcomer import Gate, PendingConnection
from sockwave.core.session.hub import Hub
from sockwave.handshake import check_origin_and_subprotocol
from sockwave.http.serialize import serialize_refusal
from sockwave.limits import Limits, OverLimit
from sockwave.log import peers
from sockwave.options import Options
from sockwave.tls_info import TLSInfo

if TYPE_CHECKING:
    from sockwave.core.opening.newcomer import AcceptHooks

# Descriptors kept for listening sockets, files, and connections that are being rejected.
_SPARE_COUNT = 64

# So many connections may be waiting for their rejection to be sent; further ones are closed without
# an answer.
_MAX_REJECTED_COUNT = 32

# The limit where the system names none (Windows): as many as one address has ports.
_COUNT_WITHOUT_LIMIT = 1 << 16

#: An IPv4 address as text, or the first 64 bits of an IPv6 address.
AddressKey: TypeAlias = str | bytes


class RejectedConnection(PyReceiver):
    """The receiver of a transport that was rejected, until it is closed."""

    __slots__ = ("_rejected",)

    def __init__(self, rejected: "set[RejectedConnection]") -> None:
        self._rejected = rejected
        rejected.add(self)

    def connection_lost(self, error: OSError | None) -> None:
        """Stop counting this connection as one that is being rejected."""
        self._rejected.discard(self)


def resolve_max_connections(limits: Limits) -> int | None:
    """Return the option `max_connections` as a number; None for no limit."""
    if not isinstance(limits.max_connections, str):
        return limits.max_connections
    if sys.platform == "win32":  # pragma: no cover - Windows has no such limit
        return _COUNT_WITHOUT_LIMIT
    import resource

    count, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if count == resource.RLIM_INFINITY:
        return _COUNT_WITHOUT_LIMIT
    return max(count - _SPARE_COUNT, count // 2)


def address_key(address: Address) -> AddressKey | None:
    """Key for max_connections_per_address: the IPv4 address or IPv6 /64; None for Unix sockets."""
    if not isinstance(address, tuple):
        return None
    host: str = address[0]
    if ":" not in host:
        return host
    parsed = parse_address(host)
    return str(parsed) if parsed.version == 4 else parsed.packed[:8]


class Admission(Gate):
    """Admits or rejects new connections, and counts them."""

    def __init__(
        self,
        host: "AcceptHooks",
        hub: Hub,
        options: Options,
        routes: RouteTable,
        *,
        has_mounts: bool = False,
        has_fallback: bool = False,
    ) -> None:
        self._engine = engine = hub.engine
        self._limits = limits = options.limits
        self._added_headers = options.added_headers
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
            needs_address=trusts_proxies or counts_addresses,
            routes=routes,
            has_fallback=has_fallback,
            asks_no_hook=(
                options.authorize is None
                and not has_mounts
                and not callable(options.origin)
                and not callable(options.subprotocol)
                and not options.trusted_proxies
                and "rfc6455" in options.version
            ),
        )
        engine.acceptor = self
        self._rejected: set[RejectedConnection] = set()
        # Both are filled only with max_connections_per_address.
        self._address_keys: dict[Transport, AddressKey] = {}
        self._counts: dict[AddressKey, int] = {}
        #: Of connections whose client's TLS a proxy has terminated: what the proxy told of it.
        self.proxied_tls_infos: dict[Transport, TLSInfo] = {}
        if counts_addresses or options.proxy_protocol:
            engine.when_departed = self._forget

    # ---- at accept

    def admit(self, transport: Transport, address: Address) -> bool:
        """Admit a new connection and return True, or reject it and return False.

        `address` is the client's, for `count_address`; None if a proxy has yet to tell it.
        """
        try:
            self._check_room()
            self.count_address(transport, address)
            self._make_room_for_handshake()
        except OverLimit as refused:
            self.reject(transport, refused)
            return False
        return True

    def _check_room(self) -> None:
        """Raise OverLimit if there are too many connections, or too little memory."""
        count = self._engine.transport_count - len(self._rejected)
        if self._max_connections is not None and count > self._max_connections:
            raise OverLimit("max_connections", 503, "too many connections\n")
        if self._hub.is_memory_low:
            raise OverLimit("memory_budget", 503, "too little memory\n")

    def count_address(self, transport: Transport, address: Address) -> None:
        """Count a connection under the client's address, in place of an address counted before.

        Called as soon as the client's own address is known: after accept if a proxy tells it.
        Raises OverLimit if the address has too many. Clients of Unix sockets are not counted.
        """
        most = self._limits.max_connections_per_address
        if most is None:
            return
        self._uncount_address(transport)
        key = address_key(address)
        if key is None:
            return
        count = self._counts.get(key, 0)
        if count >= most:
            raise OverLimit(
                "max_connections_per_address", 429, "too many connections from your address\n"
            )
        self._counts[key] = count + 1
        self._address_keys[transport] = key

    def keep_tls_info(self, transport: Transport, info: TLSInfo) -> None:
        """Keep what a proxy has told of the client's TLS, until the connection ends."""
        self.proxied_tls_infos[transport] = info

    def _forget(self, transport: Transport) -> None:
        """Drop what is kept of a connection that has ended."""
        self.proxied_tls_infos.pop(transport, None)
        self._uncount_address(transport)

    def _uncount_address(self, transport: Transport) -> None:
        """Stop counting a connection under its client's address."""
        key = self._address_keys.pop(transport, None)
        if key is not None:
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._counts[key]

    def reject(self, transport: Transport, refused: OverLimit, *, to_head: bool = False) -> None:
        """Send an HTTP error to a connection whose request has not come whole, and close it.

        `to_head`: as much as has come of it says that its method is HEAD.
        """
        self._engine.limit_counters.count_by_name(refused.limit)
        peers.warning("%s is rejected: %s", transport, refused.limit)
        if len(self._rejected) >= _MAX_REJECTED_COUNT:
            transport.close()
            return
        transport.receiver = RejectedConnection(self._rejected)
        transport.write(serialize_refusal(refused, self._added_headers, to_head=to_head))
        transport.shutdown()

    # ---- handshakes under way

    def _make_room_for_handshake(self) -> None:
        """Make room for one more handshake under way.

        At the limit, the handshake that has waited longest for its client is refused: so slow
        clients, however many, cannot keep quick ones out. If all of them wait for the application,
        raises OverLimit.
        """
        most = self._limits.max_handshakes
        while most is not None and (
            len(self.awaiting_client) + len(self.awaiting_application) >= most
        ):
            refused = OverLimit("max_handshakes", 503, "too many handshakes are under way\n")
            transport = next(iter(self.awaiting_client), None)
            if transport is None:
                raise refused
            oldest = self.awaiting_client[transport]
            self.end_handshake(transport)
            oldest.dismiss(refused)

    def pending_connections(self) -> list[PendingConnection]:
        """Return the connections that have not yet sent a whole request head."""
        return [one for one in self.awaiting_client.values() if isinstance(one, PendingConnection)]
