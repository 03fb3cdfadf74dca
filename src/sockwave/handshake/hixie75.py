"""The handshake of draft-hixie-thewebsocketprotocol-75, section 5."""

from collections.abc import Sequence

from sockwave.core.http.request_head import RequestHead
from sockwave.errors import Refused
from sockwave.handshake.request import check_no_body, is_visible

# The draft's clients compare these lines byte by byte, in this order.
_HEAD = (
    "HTTP/1.1 101 Web Socket Protocol Handshake\r\n"
    "Upgrade: WebSocket\r\n"
    "Connection: Upgrade\r\n"
)  # fmt: skip


def check(head: RequestHead) -> None:
    """Refuse a body, and a target that cannot be echoed."""
    check_no_body(head)
    check_location(head)


def check_location(head: RequestHead) -> None:
    """Refuse a target that is not ASCII: the drafts require the server to echo it."""
    if not is_visible(head.target):
        raise Refused(400, "expected a request target in ASCII\n")


def write_location(head: RequestHead, secure: bool, host: str | None) -> str:
    """Return the URL of the connection: the scheme, the host as it was sent, the request target."""
    return f"{'wss' if secure else 'ws'}://{host or head.headers['host']}{head.target}"


def write_fields(
    prefix: str,
    location: str,
    origin: str | None,
    subprotocol: str | None,
    extra_headers: Sequence[tuple[str, str]],
) -> str:
    """Return the header fields of 75 and 76, whose names differ only in the `prefix`."""
    fields = "" if origin is None else f"{prefix}WebSocket-Origin: {origin}\r\n"
    fields += f"{prefix}WebSocket-Location: {location}\r\n"
    if subprotocol is not None:
        fields += f"{prefix}WebSocket-Protocol: {subprotocol}\r\n"
    return fields + "".join([f"{name}: {value}\r\n" for name, value in extra_headers])


def answer(
    head: RequestHead,
    subprotocol: str | None,
    extra_headers: Sequence[tuple[str, str]],
    location: str,
) -> bytes:
    """Return the 101 response for a request that has been checked."""
    origin = head.headers.get("origin")
    fields = write_fields("", location, origin, subprotocol, extra_headers)
    return (_HEAD + fields + "\r\n").encode("latin-1")
