"""Which origins may connect (RFC 6454); only browsers send a true one (RFC 6455, section 10.2)."""

import re
from collections.abc import Callable, Iterable
from typing import TypeAlias

from sockwave.core.http.request_head import RequestHead
from sockwave.errors import Refused
from sockwave.names import SINGLE, check_plain, collect_names

OriginOption: TypeAlias = (
    str | Iterable[str | None] | re.Pattern[str] | Callable[[str | None], bool]
)
#: The option after its check: "*", "same-origin", a set of origins (None in it stands for a request
#: without an Origin header), a pattern, or the application's function.
OriginPolicy: TypeAlias = (
    str | frozenset[str | None] | re.Pattern[str] | Callable[[str | None], bool]
)

#: Origins without a host. Unrelated pages share them, so they are accepted only if the application
#: lists them literally: no pattern matches them.
LITERAL_ORIGINS = ("null", "file://")


def normalize_origin(origin: OriginOption) -> OriginPolicy:
    """Return the policy that the option stands for; raise TypeError or ValueError."""
    if isinstance(origin, re.Pattern):
        if not isinstance(origin.pattern, str):
            raise TypeError("origin: expected a pattern of str, given one of bytes")
        return origin
    if callable(origin):
        return check_plain("origin", origin)
    accepted: set[str | None] = set()
    if isinstance(origin, Iterable) and not isinstance(origin, SINGLE):
        origin = tuple(origin)
        if None in origin:
            accepted.add(None)
            origin = tuple(name for name in origin if name is not None)
    names = () if accepted and not origin else collect_names("origin", origin)
    if names in (("*",), ("same-origin",)) and not accepted:
        return names[0]
    for name in names:
        if name in ("*", "same-origin"):
            raise ValueError(f"origin: expected {name!r} alone, given it in a list")
        accepted.add(_check_name(name))
    return frozenset(accepted)


def _check_name(origin: str) -> str:
    """Return one origin as browsers write it: scheme and host in lower case, no default port."""
    if origin in LITERAL_ORIGINS:
        return origin
    scheme, separator, host = origin.partition("://")
    if (
        not separator
        or not scheme
        or not host
        or any(character in "/?#@" or character <= " " for character in host)
        or not origin.isascii()
    ):
        raise ValueError(
            "origin: expected '*', 'same-origin', 'null', 'file://' or scheme://host[:port] in "
            f"ASCII, given {origin!r}"
        )
    return fold_origin(origin)


def fold_origin(origin: str) -> str:
    """Return `origin` in lower case and without the default port of http or https."""
    origin = origin.lower()
    if origin.startswith("http://") and origin.endswith(":80"):
        return origin[:-3]
    if origin.startswith("https://") and origin.endswith(":443"):
        return origin[:-4]
    return origin


def find_origins(head: RequestHead, version: str | None) -> list[str]:
    """Return the origins that were sent, under either name where the version knows two."""
    get_all = head.headers.get_all
    origins = get_all("origin")
    if version == "hybi-08" or version == "hybi-07":
        others = get_all("sec-websocket-origin")
        origins = others if others == origins else [*origins, *others]
    return origins


def read_origin(head: RequestHead, version: str) -> str | None:
    """Return the origin as it was sent, or None; refuse one that is repeated or not ASCII.

    hybi-07 and hybi-08 send it in Sec-WebSocket-Origin.
    """
    origins = find_origins(head, version)
    if not origins:
        return None
    origin = origins[0]
    if len(origins) > 1:
        raise Refused(400, "expected at most one origin\n")
    if not origin.isascii() or not origin.isprintable():
        raise Refused(400, "expected an origin in ASCII\n")
    return origin


def check_origin(
    head: RequestHead, version: str, policy: OriginPolicy, secure: bool, host: str | None
) -> None:
    """Refuse an origin that may not connect with 403, and a malformed one with 400."""
    judge_origin(read_origin(head, version), policy, secure, host or head.headers["host"])


def judge_origin(origin: str | None, policy: OriginPolicy, secure: bool, host: str) -> None:
    """Refuse an origin that may not connect with 403; `host` is what the client asked for."""
    if policy != "*" and not is_accepted(origin, policy, secure, host):
        if origin is None:
            raise Refused(403, "without an Origin header nobody may connect here\n")
        raise Refused(403, "this origin may not connect\n")


def is_accepted(origin: str | None, policy: OriginPolicy, secure: bool, host: str) -> bool:
    """Tell whether `policy` accepts `origin`.

    A missing one (None) can be accepted only by a callable, or by a list that contains None.
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
