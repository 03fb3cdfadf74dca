"""What a request head asks for: RFC 9110, sections 7.8 and 10.1.1, and RFC 9112, section 9.3."""

from http import HTTPMethod

from sockwave.errors import Refused
from sockwave.request_head import RequestHead

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
