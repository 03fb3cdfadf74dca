"""The server's answer to an opening request: RFC 6455, section 4.1, and RFC 9112, section 4."""

from base64 import b64encode
from hashlib import sha1

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from sockwave.client.compression import read_agreement
from sockwave.client.drafts import check_head
from sockwave.client.errors import HandshakeError
from sockwave.client.options import ClientOptions
from sockwave.client.request import OpeningRequest
from sockwave.core.http.headers import Headers
from sockwave.deflate import Agreement
from sockwave.limits import Limits
from sockwave.log import quote

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

#: Of the body of a refusal, so much is kept: enough for what a person or a program reads.
BODY_SIZE = 64 * 1024

# RFC 9110, 15.2: "A client MUST be able to parse one or more 1xx responses received prior to a
# final response, even if the client does not expect one." One or more is not without end.
_INTERIM_COUNT = 16

_SWITCHING = 101


class AnswerReader:
    """Reads the answer: bytes in, until `is_whole`.

    `rest` is what came behind the head of a 101, and belongs to the WebSocket.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._parser = HttpResponseParser(self)
        self._pairs: list[tuple[str, str]] = []
        self._size = 0
        self._interim_count = 0
        #: 0: no head has come, but for interim ones.
        self.status = 0
        self.headers = Headers()
        self.body = bytearray()
        self.rest = b""
        #: Nothing more of the answer is to come, or would be kept.
        self.is_whole = False

    def feed(self, data: bytes) -> None:
        """Read the next bytes; HandshakeError for what is no answer, or over a limit."""
        if self.is_whole:
            self.rest += data
            return
        if not self.status:
            self._size += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self.rest = data[upgrade.args[0] :]
        except HttpParserError:
            if not self.status:  # else it is the body, or what follows a 101 that is not one
                given = quote(data.decode("latin-1"))
                raise HandshakeError(f"answer: expected one of HTTP/1.1, given {given}") from None
            self.is_whole = True
        self._check_limits()
        if self.status == _SWITCHING:
            self.is_whole = True

    def _check_limits(self) -> None:
        if self._interim_count > _INTERIM_COUNT:
            raise HandshakeError(f"answer: expected at most {_INTERIM_COUNT} interim ones")
        if len(self._pairs) > self._limits.header_count:
            count = self._limits.header_count
            raise HandshakeError(f"answer: expected at most {count} header fields (header_count)")
        size = self._size if not self.status else sum(len(n) + len(v) + 4 for n, v in self._pairs)
        if size > self._limits.header_block_size:
            most = self._limits.header_block_size
            raise HandshakeError(f"answer: expected a head of {most} bytes (header_block_size)")

    # ---- called by the parser

    def on_message_begin(self) -> None:
        """Begin the head of another answer: the one before was interim."""
        if not self.status:
            self._pairs.clear()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header field."""
        if not self.status and len(self._pairs) <= self._limits.header_count:
            self._pairs.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        """Take note that the head has come."""
        status = self._parser.get_status_code()
        if self.status:
            return
        if 100 <= status < 200 and status != _SWITCHING:
            self._interim_count += 1
            self._size = 0
        else:
            self.status = status
            self.headers = Headers(self._pairs)

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self.body += body[: BODY_SIZE - len(self.body)]
        if len(self.body) >= BODY_SIZE:
            self.is_whole = True

    def on_message_complete(self) -> None:
        """Take note that the answer has ended."""
        if self.status:
            self.is_whole = True

    @property
    def http_version(self) -> str:
        """The version that the server says it speaks, "1.1"."""
        return str(self._parser.get_http_version())


def check_answer(
    answer: AnswerReader, request: OpeningRequest, options: ClientOptions
) -> tuple[str | None, Agreement | None]:
    """Check an answer with 101; return the subprotocol, and what was agreed on of compression.

    Raises HandshakeError: 4.1 lists what makes a client "_Fail the WebSocket Connection_".
    """
    headers = answer.headers
    if request.location:
        names = options.subprotocols
        found = check_head(headers, options.version, request.location, request.origin, names)
        return found, None
    if answer.http_version != "1.1":
        raise HandshakeError(f"answer: expected HTTP/1.1, given HTTP/{answer.http_version}")
    # "If the response lacks an |Upgrade| header field or the |Upgrade| header field contains a
    # value that is not an ASCII case-insensitive match for the value "websocket""
    upgrade = headers.get_all("upgrade")
    if [value.lower() for value in upgrade] != ["websocket"]:
        raise HandshakeError(f"Upgrade: expected websocket, given {_show(upgrade)}")
    # "… or the |Connection| header field doesn't contain a token that is an ASCII case-insensitive
    # match for the value "Upgrade""
    if "upgrade" not in headers.get_tokens("connection"):
        given = _show(headers.get_all("connection"))
        raise HandshakeError(f"Connection: expected Upgrade, given {given}")
    accept = headers.get_all("sec-websocket-accept")
    if accept != [accept_value(request.key)]:
        raise HandshakeError(
            f"Sec-WebSocket-Accept: expected {accept_value(request.key)}, given {_show(accept)}"
        )
    agreement = read_agreement(headers.get_all("sec-websocket-extensions"), options.compression)
    return _read_subprotocol(headers, options), agreement


def accept_value(key: bytes) -> str:
    """Return the Sec-WebSocket-Accept for a Sec-WebSocket-Key (4.2.2, item /key/)."""
    digest = sha1(key + _GUID, usedforsecurity=False).digest()
    return b64encode(digest).decode("ascii")


def _read_subprotocol(headers: Headers, options: ClientOptions) -> str | None:
    """Return the subprotocol that the server has chosen; without one, the connection has none."""
    chosen = headers.get_all("sec-websocket-protocol")
    if not chosen:
        return None
    # "… the use of a subprotocol that was not present in the client's handshake"
    if len(chosen) > 1 or chosen[0] not in options.subprotocols:
        offered = ", ".join(options.subprotocols) or "none"
        raise HandshakeError(
            f"Sec-WebSocket-Protocol: expected one of those offered ({offered}), "
            f"given {_show(chosen)}"
        )
    return chosen[0]


def _show(values: list[str]) -> str:
    return quote(", ".join(values)) if values else "none"
