"""What is logged about peers: in one line, with nothing of theirs unescaped, and not too often."""

import functools
import inspect
import logging
import time
from typing import Protocol

from sockwave.address import Address, spell

# So many lines alike in so many seconds: enough to see what happens; who floods us with bad
# handshakes does not flood the log.
LINE_COUNT = 10
PERIOD_S = 10.0

# Of a text of a peer's, so many characters: a header block has room for a page of them.
TEXT_SIZE = 256


def escape(text: object) -> str:
    """Give a text in printable ASCII, without line breaks or escapes; one that is long is cut."""
    found = str(text)
    escaped = found[:TEXT_SIZE].encode("unicode_escape").decode("ascii")
    return escaped if len(found) <= TEXT_SIZE else f"{escaped}..."


def quote(text: str) -> str:
    """Give a text in the same way, in quotes that it cannot end itself."""
    return ascii(text[:TEXT_SIZE]) + ("" if len(text) <= TEXT_SIZE else "...")


class Detail:
    """An argument of a line that is written out only where the line is logged.

    Its `__str__` gives printable ASCII: what is a peer's in it has gone through `escape` or
    `quote`.
    """

    __slots__ = ()


def describe(listener: object) -> str:
    """Name a listener, and where it is written, as far as it tells."""
    while isinstance(listener, functools.partial):
        listener = listener.func
    function = inspect.unwrap(listener) if callable(listener) else listener
    code = getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)
    name = getattr(function, "__qualname__", None) or repr(function)
    return f"{name} ({code.co_filename}:{code.co_firstlineno})" if code else name


class HasPeer(Protocol):
    """A transport or a connection."""

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

    def info(self, line: str, peer: HasPeer, *arguments: object) -> None:
        """Log in the same way what is nobody's fault here, and what an operator may look for."""
        self._log(logging.INFO, line, peer, arguments)

    def is_on(self, level: int) -> bool:
        """Tell whether lines of this level are logged at all."""
        return self._logger.isEnabledFor(level)

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
        escaped = map(_write, (spell(peer.remote_address), *arguments))
        self._logger.log(level, line, *escaped, stacklevel=3)


def _write(argument: object) -> object:
    """Give an argument as it may stand in a line."""
    if isinstance(argument, Detail):
        text = str(argument)
        return text if text.isascii() and text.isprintable() else escape(text)
    return argument if isinstance(argument, (int, float)) else escape(argument)


#: For all that a peer can bring about; what the application does wrong is logged in full.
peers = PeerLog(logging.getLogger("sockwave.peers"))
