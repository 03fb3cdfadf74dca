"""The two ends of a connection, as the application sees them."""

import ipaddress
import os
import socket
from typing import Any, TypeAlias

#: (host, port); the path of a Unix socket, "" where it has none; None once it is unknown.
Address: TypeAlias = tuple[Any, ...] | str | None

#: What the application sees in place of the address of a peer that has none: one on a Unix socket,
#: and one that a trusted proxy hides.
NO_ADDRESS = ("", 0)

IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


def as_pair(address: Address) -> tuple[str, int]:
    """Return the address of a peer as the application sees it: (host, port), or NO_ADDRESS."""
    return address if isinstance(address, tuple) else NO_ADDRESS


def format_address(address: Address) -> str:
    """Return the address of a peer as text for a log: host:port or a path."""
    if isinstance(address, tuple):
        return f"{address[0]}:{address[1]}" if address[0] else format_address(None)
    return address or "a peer on a Unix socket"


def listening_address(sock: socket.socket) -> Any:
    """Return the address of a listening socket: (host, port) or a path.

    An abstract name of Linux begins with a zero byte, as it does for `listen`.
    """
    address = sock.getsockname()
    return address[:2] if isinstance(address, tuple) else os.fsdecode(address)


def parse_address(text: str) -> IPAddress:
    """Parse an IP address; an IPv4-mapped IPv6 address becomes the IPv4 address.

    Raises ValueError for anything else.
    """
    address = ipaddress.ip_address(text.partition("%")[0])  # without the scope id (%eth0)
    # RFC 4291, 2.5.5.2: a dual-stack socket shows its IPv4 clients this way.
    mapped = getattr(address, "ipv4_mapped", None)
    return address if mapped is None else mapped
