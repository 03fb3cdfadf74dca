"""The two ends of a connection, as the application sees them."""

import ipaddress
import socket
from typing import Any, TypeAlias

#: (host, port); the path of a Unix socket, "" where it has none; None when it is known no more.
Address: TypeAlias = tuple[Any, ...] | str | None

IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


def spell(address: Address) -> str:
    """Write the address of a peer as people do."""
    if isinstance(address, tuple):
        return f"{address[0]}:{address[1]}"
    return address or "a peer on a Unix socket"


def address_of(made: socket.socket) -> Any:
    """Give the address of a listening socket: (host, port) or a path."""
    address = made.getsockname()
    return address[:2] if isinstance(address, tuple) else address


def parse_address(text: str) -> IPAddress:
    """Read an IP address; one of IPv4 that is written as one of IPv6 is the first.

    Raises ValueError for anything else.
    """
    address = ipaddress.ip_address(text.partition("%")[0])  # without the scope of a link
    # RFC 4291, 2.5.5.2: so a socket for both shows the peers of IPv4.
    mapped = getattr(address, "ipv4_mapped", None)
    return address if mapped is None else mapped
