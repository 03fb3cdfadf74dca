"""The handshake of RFC 6455, section 4.2, which hybi-07 to hybi-12 share."""

from binascii import Error, a2b_base64
from collections.abc import Sequence

from sockwave.core.http.request_head import RequestHead
from sockwave.core.opening.extension_list import is_well_formed
from sockwave.core.opening.fast_request import write_answer
from sockwave.errors import Refused
from sockwave.handshake.request import check_no_body


def check(head: RequestHead) -> None:
    """Refuse a body, a key that is missing, repeated or malformed, and malformed extensions."""
    check_no_body(head)
    check_extensions(head)
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


def check_extensions(head: RequestHead) -> None:
    """Refuse a malformed list of extensions, whether or not the server knows any of them."""
    # 9.1: "If a value is received by either the client or the server during negotiation that does
    # not conform to the ABNF below, the recipient of such malformed data MUST immediately _Fail the
    # WebSocket Connection_." Several fields are one list.
    fields = head.headers.get_all("sec-websocket-extensions")
    if fields and not is_well_formed(", ".join(fields)):
        raise Refused(400, "expected Sec-WebSocket-Extensions: a list of extensions (RFC 6455)\n")


def answer(
    head: RequestHead, subprotocol: str | None, extra_headers: Sequence[tuple[str, str]]
) -> bytes:
    """Return the 101 response for a request that has been checked."""
    fields = "" if subprotocol is None else f"Sec-WebSocket-Protocol: {subprotocol}\r\n"
    fields += "".join([f"{name}: {value}\r\n" for name, value in extra_headers])
    return write_answer(head.headers["sec-websocket-key"].encode(), fields.encode("latin-1"))
