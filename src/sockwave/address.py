"""The two ends of a connection, as the application sees them."""

import socket
from typing import Any, TypeAlias

#: (host, port); the path of a Unix socket, "" where it has none; None when it is known no more.
Address: TypeAlias = tuple[Any, ...] | str | None


def address_of(made: socket.socket) -> Any:
    """Give the address of a listening socket: (host, port) or a path."""
    address = made.getsockname()
    return address[:2] if isinstance(address, tuple) else address
