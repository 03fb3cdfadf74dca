"""An echo server: text comes back as text and binary as binary (RFC 6455, section 5.6)."""

from typing import Unpack

import sockwave
from sockwave.option_types import ServerOptions


def create_echo(**options: Unpack[ServerOptions]) -> sockwave.Server:
    """Create the echo server; the options are those of `sockwave.create_server`."""
    server = sockwave.create_server(**options)

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        conn.on("message", conn.send)

    return server
