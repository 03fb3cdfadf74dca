"""Log lines about peers: one line each, with peers' texts escaped, and limited in number."""

import logging
import time
from typing import Protocol

from sockwave.address import Address, format_address

# At most LINE_COUNT lines of one kind in PERIOD_S seconds: enough to see what happens; a client
# that sends many bad handshakes cannot flood the log.
LINE_COUNT = 10
PERIOD_S = 10.0

# So many characters of a text from a peer are logged: a header block has room for a page of text.
TEXT_SIZE = 256


def escape(text: object) -> str:
    """Return a text as printable ASCII, without line breaks or terminal escapes; cut if long."""
    found = str(text)
    escaped = found[:TEXT_SIZE].encode("unicode_escape").decode("ascii")
    return escaped if len(found) <= TEXT_SIZE else f"{escaped}..."


def quote(text: str) -> str:
    """Return a text as `escape` does, in quotes; quotes inside it are escaped."""
    return ascii(text[:TEXT_SIZE]) + ("" if len(text) <= TEXT_SIZE else "...")


#: What each record of our loggers has besides its text, None where it is not known.
FIELDS = ("connection_id", "address", "path")


def fields_of(subject: object, path: str | None = None) -> dict[str, object]:
    """Return the fields of a log record about a connection, a request or a transport, as `extra`.

    `path` is that of the request, where the subject does not tell it.
    """
    receiver = getattr(subject, "receiver", None)
    connection = subject if receiver is None else receiver
    number = getattr(connection, "id", None)
    address = getattr(subject, "remote_address", None)
    if path is None:
        path = _find_path(connection, subject)
    return {
        "connection_id": number if isinstance(number, int) else None,
        "address": None if address is None else format_address(address),
        "path": None if path is None else escape(path),
    }


def _find_path(connection: object, subject: object) -> str | None:
    """Return the path of a connection's opening request, or of a request; None: it is not known."""
    try:
        path: str | None = getattr(getattr(connection, "request", subject), "path", None)
    except ValueError:  # a connection without an opening request: a log must not fail of that
        return None
    return path


class _HasFields(logging.Filter):
    """Gives each record the fields, so that a formatter can name them."""

    def filter(self, record: logging.LogRecord) -> bool:
        for name in FIELDS:
            record.__dict__.setdefault(name, None)
        return True


class Detail:
    """An argument of a log line whose text is made only if the line is logged.

    Its `__str__` returns printable ASCII: texts from a peer have gone through `escape` or `quote`.
    """

    __slots__ = ()


class HasPeer(Protocol):
    """A transport or a connection."""

    @property
    def remote_address(self) -> Address:
        """The address of the peer."""


class PeerLog:
    """Logs what peers cause, and omits lines beyond the first few of one kind in each period.

    Lines with the same format are of one kind. The next line that is logged says how many were
    omitted. The formats are part of the code, so their number is bounded. For an omitted line only
    a counter is incremented: in a flood, nearly all lines are omitted.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        # Format → when its period began, how many lines it has logged, how many it has omitted.
        self._periods: dict[str, tuple[float, int, int]] = {}

    def warning(self, line: str, peer: HasPeer, *arguments: object) -> None:
        """Log a warning; the address of `peer` is the first argument of the format `line`."""
        self._log(logging.WARNING, line, peer, arguments)

    def info(self, line: str, peer: HasPeer, *arguments: object, path: str | None = None) -> None:
        """Log, in the same way, what is no fault of this server but of interest to its operator.

        `path` is that of the request, where `peer` does not tell it.
        """
        self._log(logging.INFO, line, peer, arguments, path)

    def is_on(self, level: int) -> bool:
        """Tell whether lines of this level are logged."""
        return self._logger.isEnabledFor(level)

    def debug(self, line: str, peer: HasPeer, *arguments: object) -> None:
        """Log, in the same way, details for debugging."""
        self._log(logging.DEBUG, line, peer, arguments)

    def _log(
        self,
        level: int,
        kind: str,
        peer: HasPeer,
        arguments: tuple[object, ...],
        path: str | None = None,
    ) -> None:
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
        escaped = map(_write, (format_address(peer.remote_address), *arguments))
        self._logger.log(level, line, *escaped, stacklevel=3, extra=fields_of(peer, path))


def _write(argument: object) -> object:
    """Return an argument of a line, escaped where it is text."""
    if isinstance(argument, Detail):
        text = str(argument)
        return text if text.isascii() and text.isprintable() else escape(text)
    return argument if isinstance(argument, (int, float)) else escape(argument)


#: For each request that is answered, where the option `access_log` is set. The arguments of a line
#: are those of uvicorn's, in its order, so that formatters made for it can be used.
access = logging.getLogger("sockwave.access")
ACCESS_LINE = '%s - "%s %s HTTP/%s" %d'


def log_access(client: Address, method: str, target: str, http_version: str, status: int) -> None:
    """Log a request that was answered; `target` is what its request line says."""
    arguments = (format_address(client), escape(method), escape(target), http_version, status)
    path = escape(target.partition("?")[0])
    about = {"connection_id": None, "address": arguments[0], "path": path}
    access.info(ACCESS_LINE, *arguments, extra=about)


#: For everything that a peer can cause; errors of the application are logged in full elsewhere.
peers = PeerLog(logging.getLogger("sockwave.peers"))

# A filter of a logger sees its own records, and not those of the loggers below it.
for _name in ("sockwave", "sockwave.peers", "sockwave.access"):
    logging.getLogger(_name).addFilter(_HasFields())
