"""When a client connects again, and when it does not."""

import logging
import math
import re
import time
from dataclasses import dataclass, fields
from email.utils import parsedate_to_datetime

from sockwave.client.errors import HandshakeError, HandshakeRefused
from sockwave.close import CloseCode
from sockwave.documented import describe_fields
from sockwave.errors import ConnectionClosed
from sockwave.waits import FullJitter

logger = logging.getLogger("sockwave")

# Of the 4xx, those that another attempt may not get (RFC 9110, 15.5.9, and RFC 8470, RFC 6585).
_RETRIED_STATUSES = frozenset({408, 425, 429})

# What another attempt would get as well: we, or the server, broke a rule.
_FINAL_CODES = frozenset(
    {
        CloseCode.PROTOCOL_ERROR,
        CloseCode.UNSUPPORTED_DATA,
        CloseCode.INVALID_PAYLOAD,
        CloseCode.POLICY_VIOLATION,
        CloseCode.MESSAGE_TOO_BIG,
        CloseCode.MANDATORY_EXTENSION,
    }
)

# In a close reason, as this server writes it.
_HINT = re.compile(r"(?:^|[\s;,])retry=([0-9]{1,9})(?:\.[0-9]+)?(?=$|[\s;,])")

# A server that asks for more than a day has made a mistake in the unit.
_LONGEST_HINT_S = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How long a client waits before it connects again: a random time, up to a limit that grows.

    The limit is `first` seconds, `factor` times as much after each attempt that fails, and `most`
    in the end. Clients that a server has lost together so come back one by one ("full jitter").

    Raises TypeError or ValueError naming the setting, what was expected and what was given.
    """

    first: float = 0.5
    most: float = 60.0
    factor: float = 2.0

    def __post_init__(self) -> None:
        for setting in fields(self):
            value = getattr(self, setting.name)
            if not isinstance(value, (int, float)) or isinstance(value, bool):
                raise TypeError(
                    f"{setting.name}: expected int or float, given {type(value).__name__}"
                )
            least = 1 if setting.name == "factor" else 0
            if not least <= value < math.inf:
                raise ValueError(f"{setting.name}: expected at least {least}, given {value}")
        if self.most < self.first:
            raise ValueError(f"most: expected at least first ({self.first}), given {self.most}")


describe_fields(
    Backoff,
    first="The limit of the first wait, in seconds.",
    most="The highest limit, in seconds.",
    factor="By how much the limit grows with each attempt that fails.",
)


class Waits:
    """The waits between the attempts of one client, whoever waits, and what ends them for good."""

    def __init__(self, backoff: Backoff, name: object = "") -> None:
        self._waits = FullJitter(backoff.first, backoff.most, backoff.factor)
        #: What is connected to, for logs.
        self._name = name

    def after_failure(self, error: Exception) -> float:
        """Return how long to wait behind an attempt that has failed.

        Raises the error itself, where another attempt would fail in the same way.
        """
        if is_final_error(error):
            raise error
        wait = self.next(read_retry_after(error))
        logger.info("no connection to %s: %s; next attempt in %.1f s", self._name, error, wait)
        return wait

    def after_end(self, code: int | None, reason: str | None, lifetime: float) -> float:
        """Return how long to wait behind a connection that has lasted so many seconds.

        Raises ConnectionClosed with a code that says that the client need not come back.
        """
        if code is not None and is_final_code(code):
            raise ConnectionClosed(code, reason or "")
        self.note_lifetime(lifetime)
        return self.next(read_hint(reason))

    def next(self, hint: float = 0.0) -> float:
        """Return how long to wait, in seconds: at least the server's hint."""
        return min(hint, _LONGEST_HINT_S) + self._waits.take()

    def note_lifetime(self, seconds: float) -> None:
        """Begin anew with short waits, if a connection has lasted longer than the last one."""
        if seconds > self._waits.limit_s:
            self._waits.reset()


def is_final_code(code: int) -> bool:
    """Tell whether a close code says that the client need not come back."""
    return code in _FINAL_CODES or 4400 <= code <= 4499


def is_final_error(error: Exception) -> bool:
    """Tell whether another attempt would fail in the same way."""
    if not isinstance(error, HandshakeRefused):
        return not isinstance(error, (OSError, HandshakeError))
    return 300 <= error.status < 500 and error.status not in _RETRIED_STATUSES


def read_hint(reason: str | None) -> float:
    """Return the seconds that a close reason asks a client to wait (`retry=SECONDS`); 0: none."""
    found = _HINT.search(reason or "")
    return float(found[1]) if found else 0.0


def read_retry_after(error: Exception) -> float:
    """Return the seconds that Retry-After asks a client to wait (RFC 9110, 10.2.3); 0: none."""
    value = error.headers.get("retry-after", "") if isinstance(error, HandshakeRefused) else ""
    if value.isascii() and value.isdigit():
        return float(value[:10])
    try:
        return max(parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
    except (ValueError, OverflowError):
        return 0.0
