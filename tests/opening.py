"""The opening handshake as the server takes it, step after step, without a socket."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from costs import Costs
from wire import KEY3, Headers, build_request

from sockwave.errors import Refused
from sockwave.handshake import answer, check, choose_subprotocol, identify
from sockwave.http import RequestHead, parse_head
from sockwave.limits import Limits
from sockwave.options import Options


def parse(headers: Headers, *, target: str = "/", method: str = "GET") -> RequestHead:
    """Give the head of a request with these headers and no others."""
    return parse_head(build_request(headers, target=target, method=method), Limits())


def open_handshake(
    head: RequestHead,
    *,
    secure: bool = False,
    key3: bytes = KEY3,
    checked: Options | None = None,
    **options: Any,
) -> tuple[str, str | None, bytes]:
    """Take a request from its head to the answer: version, subprotocol, response."""
    if checked is None:
        checked = Options(**options)
    version = identify(head, checked.version)
    check(head, version, checked.version, checked.origin, secure=secure)
    subprotocol = choose_subprotocol(head, checked.subprotocol)
    response = answer(head, version, key3=key3, secure=secure, subprotocol=subprotocol)
    return version, subprotocol, response


def refuse(
    headers: Headers,
    *,
    target: str = "/",
    method: str = "GET",
    secure: bool = False,
    **options: Any,
) -> Refused:
    """Give the refusal of a request that must not become a connection."""
    with pytest.raises(Refused) as caught:
        open_handshake(parse(headers, target=target, method=method), secure=secure, **options)
    return caught.value


def expect_linear(take: Callable[[int], None]) -> None:
    """Check that a cost grows with the size given, and not with its square."""

    def measure(size: int) -> float:
        start = time.perf_counter()
        take(size)
        return time.perf_counter() - start

    # Eight times the size costs 8 times as much, or 64 times when it is the square.
    costs = Costs(32, floor_s=20e-6)
    while costs.are_in_doubt:
        costs.take(measure(32 << 10), measure(256 << 10))
    assert costs.ratio < 32
