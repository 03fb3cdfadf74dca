"""The choice of a subprotocol: RFC 6455, sections 1.9 and 4.2.2, item /subprotocol/."""

from collections.abc import Callable, Sequence

from sockwave.core.http.request_head import RequestHead
from sockwave.errors import Refused
from sockwave.fields import is_token
from sockwave.handshake.request import split_list


def read_subprotocols(head: RequestHead) -> list[str]:
    """Return the subprotocols that the client offers, in its order, each once.

    Refuses names that are not tokens. The drafts of 2010 separate several names by spaces, and in
    draft 75 the header is WebSocket-Protocol.
    """
    headers = head.headers
    offers = headers.get_all("sec-websocket-protocol")
    if not offers:
        if "sec-websocket-version" in headers:
            return []
        offers = headers.get_all("websocket-protocol")
        if not offers:
            return []
    if "sec-websocket-version" in headers:
        return read_names(offers)
    elements = split_list(offers, "Sec-WebSocket-Protocol")
    return list(dict.fromkeys(name for part in elements for name in part.split(" ") if name))


def read_names(offers: Sequence[str]) -> list[str]:
    """Return the names in the values of Sec-WebSocket-Protocol, as `read_subprotocols` does."""
    names = split_list(offers, "Sec-WebSocket-Protocol")
    if not all(map(is_token, names)):
        raise Refused(400, "expected tokens in Sec-WebSocket-Protocol\n")
    return list(dict.fromkeys(names))


def choose_subprotocol(
    head: RequestHead, ours: Sequence[str] | Callable[[list[str], RequestHead], str | None]
) -> str | None:
    """Return the first of `ours` that the client offered, or None; a function is called to choose.

    Raises ValueError if the application's function returns a subprotocol that was not offered.
    """
    offered = read_subprotocols(head)
    if callable(ours):
        chosen = ours(offered.copy(), head)
        if chosen is not None:
            check_chosen(chosen, offered)
        return chosen
    return find_first(ours, offered)


def find_first(ours: Sequence[str], offered: Sequence[str]) -> str | None:
    """Return the first of ours that the client offered, or None."""
    if offered:
        for name in ours:
            if name in offered:
                return name
    return None


def check_chosen(chosen: str, offered: list[str]) -> None:
    """Raise TypeError or ValueError unless the application chose one of those offered."""
    if not isinstance(chosen, str):
        raise TypeError(f"subprotocol: expected str or None, given {type(chosen).__name__}")
    # RFC 6455, 4.1: a client that receives "a subprotocol that was not present in the
    # client's handshake" "MUST _Fail the WebSocket Connection_".
    if chosen not in offered:
        raise ValueError(f"subprotocol: expected one of those offered {offered}, given {chosen!r}")
