"""What a request head asks for: RFC 9110, sections 7.8 and 10.1.1, and RFC 9112, section 9.3."""

from http import HTTPMethod
from typing import NamedTuple

from sockwave.core.http.request_head import RequestHead
from sockwave.errors import Refused
from sockwave.http.check import parse_head
from sockwave.limits import Limits

# No body is longer, whatever a head says.
_LARGEST = 2**63 - 1

# RFC 9110, 9.1, and RFC 5789. Any other token is a method too, of which only the application can
# know what it means.
_KNOWN_METHODS = frozenset(HTTPMethod)


def wants_websocket(head: RequestHead) -> bool:
    """Tell whether a request asks to upgrade to WebSocket; `handshake` checks the details."""
    # RFC 9110, 7.8: "A server MAY ignore a received Upgrade header field": for other
    # protocols, we do.
    upgrade = head.headers.get("upgrade")
    if upgrade is None:
        return False
    return upgrade.lower() == "websocket" or "websocket" in head.headers.get_tokens("upgrade")


def keeps_alive(head: RequestHead) -> bool:
    """Tell whether the client wants to keep the connection after the answer: RFC 9112, 9.3."""
    options = head.headers.get_tokens("connection")
    return "close" not in options and (head.http_version == "1.1" or "keep-alive" in options)


def expects_continue(head: RequestHead) -> bool:
    """Tell whether the client waits for a 100 before its body; Refused for another expectation."""
    # RFC 9110, 10.1.1: "A server that receives a 100-continue expectation in an HTTP/1.0 request
    # MUST ignore that expectation."
    expectations = head.headers.get_tokens("expect")
    if not expectations or head.http_version == "1.0":
        return False
    if expectations != ["100-continue"]:
        raise Refused(417, "expected 100-continue as the only expectation\n")
    return True


def has_known_method(head: RequestHead) -> bool:
    """Tell whether the method is one of those that HTTP itself defines, or PATCH."""
    return head.method in _KNOWN_METHODS


class Facts(NamedTuple):
    """What the compiled connection has to know of a head that it has not parsed itself."""

    head: RequestHead
    wants_websocket: bool
    is_chunked: bool
    #: In bytes, of a body that is not chunked; 0 where there is none.
    body_size: int
    keeps_alive: bool
    expects_continue: bool


def parse_strictly(raw: bytes, limits: Limits) -> Facts:
    """Parse the head of a request, and find what it asks for; raises Refused."""
    head = parse_head(raw, limits)
    if wants_websocket(head):
        return Facts(head, True, False, 0, True, False)
    # RFC 9112, 6.3: "If this is a request message and none of the above are true, then the message
    # body length is zero".
    is_chunked = "transfer-encoding" in head.headers
    length = 0 if is_chunked else int(head.headers.get("content-length", "0"))
    return Facts(
        head, False, is_chunked, min(length, _LARGEST), keeps_alive(head), expects_continue(head)
    )
