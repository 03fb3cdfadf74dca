"""The handshake of RFC 6455, section 4.2, which hybi-07 to hybi-12 share."""

from binascii import Error, a2b_base64, b2a_base64
from collections.abc import Sequence
from hashlib import sha1
from typing import TYPE_CHECKING

from sockwave.errors import Refused
from sockwave.handshake.request import check_no_body

if TYPE_CHECKING:
    from sockwave.http import RequestHead

#: RFC 6455, 1.3: what is hashed behind the key.
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

_HEAD = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: "
)


def check(head: "RequestHead") -> None:
    """Refuse a body, and a key that is missing, repeated or malformed."""
    check_no_body(head)
    keys = head.headers.get_all("sec-websocket-key")
    # 4.2.1: "A |Sec-WebSocket-Key| header field with a base64-encoded value that, when decoded, is
    # 16 bytes in length." Its length comes first, so that nothing long is decoded.
    if len(keys) == 1 and len(keys[0]) == 24:
        try:
            if len(a2b_base64(keys[0], strict_mode=True)) == 16:
                return
        except (Error, ValueError):  # ValueError: not ASCII
            pass
    raise Refused(400, "expected exactly one Sec-WebSocket-Key: 16 bytes in base64\n")


def accept_key(key: str) -> bytes:
    """Return the value of Sec-WebSocket-Accept for a key that has been checked."""
    return b2a_base64(sha1(key.encode() + GUID, usedforsecurity=False).digest(), newline=False)


def answer(
    head: "RequestHead", subprotocol: str | None, extra_headers: Sequence[tuple[str, str]]
) -> bytes:
    """Return the 101 response for a request that has been checked."""
    accept = accept_key(head.headers["sec-websocket-key"])
    if subprotocol is None and not extra_headers:
        return _HEAD + accept + b"\r\n\r\n"
    fields = "" if subprotocol is None else f"Sec-WebSocket-Protocol: {subprotocol}\r\n"
    fields += "".join([f"{name}: {value}\r\n" for name, value in extra_headers])
    return b"%b%b\r\n%b\r\n" % (_HEAD, accept, fields.encode("latin-1"))
