"""What a connection of the command is asked for."""

import argparse
import ssl
from typing import Any

import sockwave
from sockwave.client.connecting import Connector


class Settings:
    """The arguments of one call of the command, checked when they are used."""

    def __init__(self, chosen: argparse.Namespace, context: ssl.SSLContext | None) -> None:
        self.uri: str = chosen.uri
        self.prog: str = chosen.parser.prog
        self.messages: list[str] = chosen.messages
        self.count: int | None = chosen.count
        if self.messages and self.count is None:
            self.count = len(self.messages)
        self.listens: bool = chosen.listen
        self.is_json: bool = chosen.json
        self.is_binary: bool = chosen.binary
        self.has_timestamps: bool = chosen.timestamps
        self.is_verbose: bool = chosen.verbose
        self.reconnects: bool = chosen.reconnect
        self.timeout: float = chosen.timeout
        self._options: dict[str, Any] = {
            "headers": chosen.headers,
            "subprotocol": chosen.subprotocol,
            "origin": chosen.origin,
            "compression": chosen.compression or None,
            "path": chosen.unix,
            "ssl": context,
            "max_size": chosen.max_size,
            "ping_interval": chosen.ping or None,
            "open_timeout": chosen.timeout,
            "listen_timeout": None,
        }

    def connector(self) -> Connector[sockwave.ClientConnection]:
        """Return what connects; raises TypeError or ValueError for a wrong argument."""
        # What is typed and shown is what is said, in `sockwave.1` too.
        return sockwave.connect(self.uri, **self._options)._without_topics()


def convert(text: str, *, is_binary: bool) -> str | bytes:
    """Return the message that a line of input stands for; raises ValueError."""
    if not is_binary:
        try:
            text.encode()
        except UnicodeEncodeError:  # bytes of the command line that are none: surrogates
            raise ValueError(f"expected UTF-8, got {text[:60]!r}") from None
        return text
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise ValueError(f"expected hexadecimal digits, got {text[:60]!r}") from None
