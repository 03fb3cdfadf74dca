"""The exceptions of sockwave; what a peer did wrong never raises into the application."""

import asyncio
from http import HTTPStatus

from sockwave.fields import HeaderPairs, check_headers

# The response's own framing is written by whoever serialises it; a second opinion from the
# application would let two readers disagree on where the response ends (RFC 9112, section 6.3).
_FRAMING_HEADERS = frozenset({"connection", "content-length", "transfer-encoding"})


class SockwaveError(Exception):
    """The base of every exception that sockwave defines."""


class ConnectionClosed(SockwaveError):  # noqa: N818  (says what happened)
    """Raised by what needs an open connection, once `code` and `reason` have ended it."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        # The peer has chosen the reason, and this ends in logs: no line of its own there.
        reason = self.reason if self.reason.isprintable() else repr(self.reason)[1:-1]
        tail = f": {reason}" if reason else ""
        return f"the connection is closed, code {int(self.code)}{tail}"


def besides_departure(error: BaseException) -> BaseException | None:
    """Give what of an error is more than that a peer has gone; None where it is nothing.

    A group of errors, as a TaskGroup raises, is what it holds.
    """
    if isinstance(error, BaseExceptionGroup):
        return error.split((ConnectionClosed, asyncio.CancelledError))[1]
    return None if isinstance(error, ConnectionClosed) else error


class Refused(SockwaveError):  # noqa: N818  (an answer, not a failure)
    """Raised to answer a request with an error status instead of what it asked for.

    `status` is 300 to 599, `body` goes out as UTF-8 when it is a str, `headers` are added to the
    response. Raises TypeError or ValueError when one of them cannot go on the wire.
    """

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...]

    def __init__(
        self, status: int = 403, body: str | bytes = "", headers: HeaderPairs = ()
    ) -> None:
        if not isinstance(status, int) or isinstance(status, bool):
            raise TypeError(f"status: expected int, given {type(status).__name__}")
        if not 300 <= status <= 599:
            raise ValueError(f"status: expected 300 to 599, given {int(status)}")
        if isinstance(body, str):
            try:
                body = body.encode()
            except UnicodeEncodeError:
                raise ValueError(f"body: expected no lone surrogate, given {body!r}") from None
        elif not isinstance(body, bytes):
            raise TypeError(f"body: expected str or bytes, given {type(body).__name__}")
        checked = check_headers(headers)
        for name, _ in checked:
            if name.lower() in _FRAMING_HEADERS:
                raise ValueError(f"headers: expected none that frames the response, given {name}")
        super().__init__(status, body, checked)
        self.status = int(status)
        self.body = body
        self.headers = checked

    def __str__(self) -> str:
        try:
            phrase = " " + HTTPStatus(self.status).phrase
        except ValueError:
            phrase = ""
        tail = f": {self.body.decode(errors='replace')}" if self.body else ""
        return f"refused with {self.status}{phrase}{tail}"
