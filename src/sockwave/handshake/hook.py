"""The opening handshake as the application sees and changes it: RFC 6455, section 4.2.2."""

from typing import TYPE_CHECKING, NoReturn

from sockwave.core.http.request_head import RequestHead
from sockwave.documented import describe_fields
from sockwave.errors import Refused
from sockwave.fields import HeaderPairs, check_header
from sockwave.handshake.subprotocol import check_chosen, read_subprotocols

if TYPE_CHECKING:
    from sockwave.core.session.connection import Connection

# RFC 9110, 7.6.1: these are hop-by-hop, and belong to the server; and a 101 response has no body
# that could be framed.
HOP_HEADERS = frozenset(
    {
        "connection",
        "content-length",
        "keep-alive",
        "proxy-authenticate",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


class Handshake:
    """One opening handshake, as it is passed to `authorize` and to listeners of `handshake`.

    It has been checked, and is answered with 101 unless one of these functions refuses it.
    `connection` is not open yet, but its `data` may be set.
    """

    __slots__ = ("_headers", "_subprotocol", "connection", "request", "version")

    def __init__(
        self,
        request: RequestHead,
        connection: "Connection",
        version: str,
        subprotocol: str | None = None,
    ) -> None:
        self.request = request
        self.connection = connection
        self.version = version
        self._subprotocol = subprotocol
        self._headers: list[tuple[str, str]] = []

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol of the answer; may be set to one that the client offered, or to None."""
        return self._subprotocol

    @subprotocol.setter
    def subprotocol(self, name: str | None) -> None:
        if name is not None:
            check_chosen(name, read_subprotocols(self.request))
        self._subprotocol = name

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """The headers added by `add_header`."""
        return tuple(self._headers)

    def add_header(self, name: str, value: str) -> None:
        """Add a header to the 101 response; a name may be added repeatedly.

        Raises TypeError or ValueError for what cannot stand in a header block, and ValueError for a
        header that belongs to the handshake itself.
        """
        check_header(name, value)
        folded = name.lower()
        if folded in HOP_HEADERS or folded.startswith(("sec-websocket-", "websocket-")):
            raise ValueError(f"header {name}: expected none that belongs to the handshake itself")
        self._headers.append((name, value))

    def refuse(
        self, status: int = 403, body: str | bytes = "", headers: HeaderPairs = ()
    ) -> NoReturn:
        """Raise `Refused`, which answers the request with `status` and closes its connection."""
        raise Refused(status, body, headers)


describe_fields(
    Handshake,
    connection="The connection: not open yet, but its `data` may be set.",
    request="The opening request.",
    version='The version of the protocol, such as "rfc6455".',
)
