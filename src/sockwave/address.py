"""The two ends of a connection, as the application sees them."""

import socket
from typing import Any, TypeAlias

#: (host, port); the path of a Unix socket, "" where it has none; None when it is known no more.
Address: TypeAlias = tuple[Any, ...] | str | None


def spell(address: Address) -> str:
    """Write the address of a peer as people do."""
    if isinstance(address, tuple):
        return f"{address[0]}:{address[1]}"
    return address or "a peer on a Unix socket"


def address_of(made: socket.socket) -> Any:
    """Give the address of a listening socket: (host, port) or a path."""
    address = made.getsockname()
    return address[:2] if isinstance(address, tuple) else address
