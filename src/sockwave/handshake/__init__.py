"""The opening handshake, from request to answer and without a socket: RFC 6455, section 4.2.

Call `identify`, `check` and `choose_subprotocol` first, in this order: they raise `Refused` for an
invalid request. Then the application may refuse the handshake; `answer` comes last.
"""

from collections.abc import Collection, Sequence

from sockwave.core.http.request_head import RequestHead
from sockwave.errors import Refused
from sockwave.handshake import hixie75, hixie76, rfc6455
from sockwave.handshake.hixie75 import write_location
from sockwave.handshake.hook import Handshake
from sockwave.handshake.origin import OriginPolicy, check_origin, judge_origin, read_origin
from sockwave.handshake.request import check_request
from sockwave.handshake.subprotocol import (
    check_chosen,
    choose_subprotocol,
    find_first,
    read_names,
    read_subprotocols,
)
from sockwave.versions import VERSIONS

__all__ = [
    "KEY3_SIZE",
    "Handshake",
    "answer",
    "check",
    "check_chosen",
    "check_origin_and_subprotocol",
    "choose_subprotocol",
    "identify",
    "read_origin",
    "read_subprotocols",
]

KEY3_SIZE = hixie76.KEY3_SIZE

# The values of Sec-WebSocket-Version, the preferred one first.
_VERSION_NUMBERS = {"13": "rfc6455", "8": "hybi-08", "7": "hybi-07"}

# A version as RFC 6455, 4.3, writes it: 0 to 255, without leading zeros.
_WELL_FORMED_NUMBERS = frozenset(str(number) for number in range(256))

_UNSPOKEN = "this version of the protocol is not spoken here\n"


def identify(head: RequestHead, accepted: Collection[str] = VERSIONS) -> str:
    """Return the canonical name of the version that the request speaks.

    Refuses an unknown version number with 426, and a malformed one, or the keys of several
    versions, with 400. `accepted` are the versions that the refusal lists.
    """
    headers = head.headers
    numbers = headers.get_all("sec-websocket-version")
    if "sec-websocket-key1" in headers or "sec-websocket-key2" in headers:
        if numbers or "sec-websocket-key" in headers:
            raise Refused(400, "expected the keys of one version only\n")
        # hybi-02 and -03 kept the keys, changed the frames, and said so here.
        if headers.get("sec-websocket-draft", "0") != "0":
            raise _refuse_version(426, _UNSPOKEN, accepted)
        return "draft76"
    if len(numbers) == 1:
        version = _VERSION_NUMBERS.get(numbers[0])
        if version is not None:
            return version
        if numbers[0] in _WELL_FORMED_NUMBERS:
            raise _refuse_version(426, _UNSPOKEN, accepted)
    if numbers or "sec-websocket-key" in headers:
        raise _refuse_version(
            400, "expected exactly one Sec-WebSocket-Version: a number\n", accepted
        )
    return "draft75"


def check(
    head: RequestHead,
    version: str,
    accepted: Collection[str],
    origin_policy: OriginPolicy,
    *,
    secure: bool = False,
    host: str | None = None,
) -> None:
    """Refuse a request that cannot become a connection of `version`, or is not allowed to.

    `accepted` are the versions that the server speaks, and `origin_policy` says which origins may
    connect. "same-origin" needs to know whether the client uses TLS (`secure`), and the host that
    the client has asked for, if a proxy tells one other than the request's Host (`host`).
    """
    check_request(head)
    if version not in accepted:
        if version in ("draft75", "draft76"):
            raise Refused(400, _UNSPOKEN)
        raise _refuse_version(426, _UNSPOKEN, accepted)
    if version == "draft76":
        hixie76.check(head)
    elif version == "draft75":
        hixie75.check(head)
    else:
        rfc6455.check(head)
    check_origin(head, version, origin_policy, secure, host)


def check_origin_and_subprotocol(
    origin_policy: OriginPolicy,
    subprotocols: Sequence[str],
    host: str,
    origin: str | None,
    offer: str | None,
    *,
    secure: bool,
) -> str | None:
    """Return the subprotocol for a fast request, which is RFC 6455's, or None.

    `core.opening.fast_request` has parsed `host`, `origin` and `offer`, and has checked everything
    else. Raises Refused.
    """
    judge_origin(origin, origin_policy, secure, host)
    return None if offer is None else find_first(subprotocols, read_names([offer]))


def answer(
    head: RequestHead,
    version: str,
    *,
    key3: bytes | None = None,
    secure: bool = False,
    host: str | None = None,
    subprotocol: str | None = None,
    extra_headers: Sequence[tuple[str, str]] = (),
) -> bytes:
    """Return the whole 101 response for a request that `check` let pass.

    `key3` is the eight bytes behind the header block, for draft 76 only.
    """
    if version == "draft76":
        if key3 is None or len(key3) != KEY3_SIZE:
            raise ValueError(f"key3: expected {KEY3_SIZE} bytes, given {key3!r}")
        location = write_location(head, secure, host)
        return hixie76.answer(head, subprotocol, extra_headers, location, key3)
    if version == "draft75":
        location = write_location(head, secure, host)
        return hixie75.answer(head, subprotocol, extra_headers, location)
    return rfc6455.answer(head, subprotocol, extra_headers)


def _refuse_version(status: int, sentence: str, accepted: Collection[str]) -> Refused:
    """Return the refusal that lists the versions that are accepted: RFC 6455, 4.4."""
    numbers = ", ".join(number for number, name in _VERSION_NUMBERS.items() if name in accepted)
    headers = [("Upgrade", "websocket")]  # RFC 9110, 15.5.22: 426 "MUST send an Upgrade"
    if numbers:
        headers.append(("Sec-WebSocket-Version", numbers))
    return Refused(status, sentence, headers)
