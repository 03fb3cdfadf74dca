"""The exceptions of sockwave; what a peer did wrong never raises into the application."""

import asyncio
from http import HTTPStatus

from sockwave.close import CloseCode
from sockwave.fields import HeaderPairs, check_headers

# `http.serialize` writes the headers that frame a response. If the application could add its own,
# two readers could disagree on where the response ends (RFC 9112, section 6.3).
FRAMING_HEADERS = frozenset({"connection", "content-length", "transfer-encoding"})


class SockwaveError(Exception):
    """The base of every exception that sockwave defines."""


class LaunchError(SockwaveError):
    """Raised where a service cannot start for a reason that one sentence says."""


class ConnectionClosed(SockwaveError):  # noqa: N818  (says what happened)
    """Raised by calls that need an open connection, once it is closed with `code` and `reason`."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        # The peer has chosen the reason: it must not be able to start a new line in a log.
        reason = self.reason if self.reason.isprintable() else repr(self.reason)[1:-1]
        tail = f": {reason}" if reason else ""
        return f"the connection is closed, code {int(self.code)}{tail}"


def code_at_exit(error: BaseException | None) -> CloseCode:
    """Return the code that closes a client's connection at the end of a `with`.

    `error` is what has ended the block; None: it has run to its end.
    """
    if error is None or isinstance(error, ConnectionClosed):
        return CloseCode.NORMAL_CLOSURE
    return CloseCode.INTERNAL_ERROR if isinstance(error, Exception) else CloseCode.GOING_AWAY


class InvalidJSON(SockwaveError, ValueError):  # noqa: N818  (says what is wrong)
    """A `message` that is not the JSON that is expected: no JSON at all, or not of `json_type`."""

    def __init__(self, sentence: str, message: str | bytes) -> None:
        super().__init__(sentence, message)
        self.message = message

    def __str__(self) -> str:
        return str(self.args[0])


class ClientDisconnected(ConnectionError):  # noqa: N818  (says what happened)
    """Raised by `send` of an ASGI application once the client has gone.

    It is an OSError, as ASGI's spec_version 2.4 says. An application that does not catch it has
    done nothing wrong: it is neither reported nor logged.
    """


def without_disconnects(error: BaseException) -> BaseException | None:
    """Return `error` without the parts that only say that the peer has gone; None if none is left.

    These are ConnectionClosed, and in an exception group, as a TaskGroup raises it, also
    CancelledError: the rest of the group is returned.
    """
    if isinstance(error, BaseExceptionGroup):
        return error.split((ConnectionClosed, asyncio.CancelledError))[1]
    return None if isinstance(error, ConnectionClosed) else error


class Refused(SockwaveError):  # noqa: N818  (an answer, not a failure)
    """Raised to answer a request with an error status instead of a success.

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
            if name.lower() in FRAMING_HEADERS:
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


class MalformedBody(Refused, ValueError):  # noqa: N818  (an answer, not a failure)
    """Raised for a body that is not what the application asks for: the client is answered with 400.

    It is a ValueError too, as those who catch it expect of a parser.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(400, sentence)
