"""Who may connect: RFC 6454's origin, which browsers alone tell truly (RFC 6455, section 10.2)."""

import re
from typing import TYPE_CHECKING

from sockwave.errors import Refused
from sockwave.options import LITERAL_ORIGINS, Options, fold_origin

if TYPE_CHECKING:
    from sockwave.http import RequestHead


def read_origin(head: "RequestHead", version: str) -> str | None:
    """Return the origin as it was sent, or None; refuse one that is repeated or not ASCII.

    hybi-07 and hybi-08 send it in Sec-WebSocket-Origin.
    """
    get_all = head.headers.get_all
    origins = get_all("origin")
    if version == "hybi-08" or version == "hybi-07":
        others = get_all("sec-websocket-origin")
        origins = others if others == origins else [*origins, *others]
    if not origins:
        return None
    origin = origins[0]
    if len(origins) > 1:
        raise Refused(400, "expected at most one origin\n")
    if not origin.isascii() or not origin.isprintable():
        raise Refused(400, "expected an origin in ASCII\n")
    return origin


def check_origin(
    head: "RequestHead", version: str, options: Options, secure: bool, host: str | None
) -> None:
    """Refuse a stranger with 403, and a malformed origin with 400."""
    judge_origin(read_origin(head, version), options, secure, host or head.headers["host"])


def judge_origin(origin: str | None, options: Options, secure: bool, host: str) -> None:
    """Refuse a stranger with 403; `host` is what the client has asked for."""
    if options.origin != "*" and not is_accepted(origin, options.origin, secure, host):
        if origin is None:
            raise Refused(403, "without an Origin header nobody may connect here\n")
        raise Refused(403, "this origin may not connect\n")


def is_accepted(origin: str | None, policy: object, secure: bool, host: str) -> bool:
    """Tell whether `policy` accepts `origin`.

    One that is missing is accepted by nothing but a callable, and a list that has None in it.
    """
    if callable(policy):
        accepted = policy(origin)
        if not isinstance(accepted, bool):
            raise TypeError(
                f"origin: expected the function to return bool, given {type(accepted).__name__}"
            )
        return accepted
    if origin is None or (folded := fold_origin(origin)) in LITERAL_ORIGINS:
        return isinstance(policy, frozenset) and origin in policy
    if policy == "same-origin":
        return folded == own_origin(secure, host)
    if isinstance(policy, re.Pattern):
        return policy.fullmatch(folded) is not None
    return isinstance(policy, frozenset) and folded in policy


def own_origin(secure: bool, host: str) -> str:
    """Return the origin of this server's own pages, which "same-origin" accepts."""
    return fold_origin(f"{'https' if secure else 'http'}://{host}")
