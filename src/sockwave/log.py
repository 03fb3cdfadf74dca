"""What is logged about peers: in one line, with nothing of theirs unescaped, and not too often."""

import logging
import time
from typing import Protocol

from sockwave.address import Address, spell

# So many lines alike in so many seconds: enough to see what happens; who floods us with bad
# handshakes does not flood the log.
LINE_COUNT = 10
PERIOD_S = 10.0


def escape(text: object) -> str:
    """Give a text in printable ASCII: no line break, no escape sequence of a terminal."""
    return str(text).encode("unicode_escape").decode("ascii")


class HasPeer(Protocol):
    """A carrier or a connection."""

    @property
    def remote_address(self) -> Address:
        """Whom it is from."""


class PeerLog:
    """Logs what peers bring about, and leaves out lines beyond the first few of their kind.

    Lines with the same format are of one kind. The next one that passes tells how many were left
    out. The formats are ours: their number is bounded. A line that is left out costs no more than
    that is counted: under a flood, nearly all of them are.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        # Format → when its period began, how many lines have passed in it, how many were left out.
        self._periods: dict[str, tuple[float, int, int]] = {}

    def warning(self, line: str, peer: HasPeer, *arguments: object) -> None:
        """Log a format with the address of a peer, which is its first argument, and with others."""
        self._log(logging.WARNING, line, peer, arguments)

    def debug(self, line: str, peer: HasPeer, *arguments: object) -> None:
        """Log in the same way what only matters to who looks for it."""
        self._log(logging.DEBUG, line, peer, arguments)

    def _log(self, level: int, kind: str, peer: HasPeer, arguments: tuple[object, ...]) -> None:
        if not self._logger.isEnabledFor(level):
            return
        now = time.monotonic()
        begun, passed_count, dropped_count = self._periods.get(kind, (now, 0, 0))
        if now - begun >= PERIOD_S:
            begun, passed_count = now, 0
        if passed_count >= LINE_COUNT:
            self._periods[kind] = (begun, passed_count, dropped_count + 1)
            return
        self._periods[kind] = (begun, passed_count + 1, 0)
        line = f"{kind} (and {dropped_count} more such lines)" if dropped_count else kind
        escaped = (
            argument if isinstance(argument, (int, float)) else escape(argument)
            for argument in (spell(peer.remote_address), *arguments)
        )
        self._logger.log(level, line, *escaped, stacklevel=3)


#: For all that a peer can bring about; what the application does wrong is logged in full.
peers = PeerLog(logging.getLogger("sockwave.peers"))
