"""Why no connection came about."""

from http import HTTPStatus

from sockwave.core.http.headers import Headers
from sockwave.errors import SockwaveError


class HandshakeError(SockwaveError):
    """Raised by `connect` where the server does not answer as RFC 6455, section 4.1, asks for."""


class HandshakeRefused(HandshakeError):  # noqa: N818  (an answer, not a failure)
    """Raised by `connect` where the server answers with another status than 101.

    `body` is at most 64 KiB of the answer's body: what came of it in time.
    """

    def __init__(
        self, status: int, headers: Headers, body: bytes, *, by: str = "the server"
    ) -> None:
        super().__init__(status, headers, body)
        self._by = by
        self.status = status
        self.headers = headers
        self.body = body

    def __str__(self) -> str:
        try:
            phrase = f" {HTTPStatus(self.status).phrase}"
        except ValueError:
            phrase = ""
        # The server has chosen the body: it must not be able to start a new line in a log.
        line = self.body[:100].decode("latin-1").strip().partition("\n")[0].rstrip()
        line = line if line.isprintable() else repr(line)[1:-1]
        return f"{self._by} refuses the handshake with {self.status}{phrase}" + (
            f": {line}" if line else ""
        )
