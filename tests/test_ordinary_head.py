"""What is an ordinary head is one by the strict rules too, with the same meaning: RFC 9112."""

import random
from typing import Any

import pytest
from fuzz.differential.requests import make_request
from hypothesis import example, given
from hypothesis import strategies as st

from sockwave.core.http.head import find_ordinary
from sockwave.errors import Refused
from sockwave.http.semantics import Facts, parse_strictly
from sockwave.limits import Limits

LIMITS = Limits(body_size=None, header_count=1000)

HEAD = (
    b"POST /a?b=c HTTP/1.1\r\nHost: example.com:80\r\nUser-Agent: x (y) z/1\r\n"
    b"Content-Length: 5\r\nConnection: keep-alive\r\n\r\n"
)
PIECES = [
    *(b"\r\n", b"\r", b"\n", b" ", b"\t", b":", b"\0", b"\x7f", b"\xe9", b"a", b"5", b"HTTP/1.0"),
    *(b"Host: b\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"HEAD", b"#"),
    *(b"Content-Length: 05\r\n", b"Content-Length:  5\r\n", b"Transfer-Encoding: x, chunked\r\n"),
]


def check(raw: bytes) -> bool:
    """Hold the two parsers together on a head; tell whether it is ordinary."""
    found = find_ordinary(raw)
    if found is None:
        return False
    size, body = found
    facts: Facts = parse_strictly(raw[:size], LIMITS)  # raises Refused if it differs
    assert ("chunked" if facts.is_chunked else facts.body_size) == body
    return True


@pytest.mark.parametrize("line", [b"", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n"])
@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS"])
def test_what_clients_send_is_ordinary(method: bytes, line: bytes) -> None:
    head = method + b" /x?y HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n" + line + b"\r\n"
    assert check(head)
    assert check(head + b"something behind it")


def test_part_of_a_head_is_not_ordinary() -> None:
    assert check(HEAD)
    assert not any(find_ordinary(HEAD[:size]) for size in range(len(HEAD)))


@given(
    st.lists(st.tuples(st.integers(0, len(HEAD)), st.integers(0, 6), st.sampled_from(PIECES))),
)
@example([])
def test_what_is_ordinary_of_a_damaged_head_is_one_by_the_strict_rules(
    changes: list[tuple[int, int, bytes]],
) -> None:
    raw = HEAD
    for at, size, piece in changes[:4]:
        raw = raw[:at] + piece + raw[at + size :]
    check(raw)


def test_made_requests_mean_the_same_by_both() -> None:
    dice = random.Random(5)
    ordinary = 0
    for _ in range(20_000):
        raw = make_request(dice)
        try:
            ordinary += check(raw)
        except Refused as refused:
            pytest.fail(f"ordinary, but refused ({refused}): {raw!r}")
    assert ordinary > 500


@pytest.mark.parametrize(
    "change",
    [
        (b"Host: example.com:80", b"Host: a:b:c"),
        (b"Host: example.com:80", b"Host: [::2]"),
        (b"Host: example.com:80\r\n", b""),
        (b"Content-Length: 5", b"Content-Length: +5"),
        (b"Content-Length: 5", b"Content-Length: 5, 5"),
        (b"Content-Length: 5", b"Content-Length:\t5"),
        (b"Content-Length: 5", b"Content-Length: 5\r\nTransfer-Encoding: chunked"),
        (b"HTTP/1.1", b"HTTP/1.0"),
        (b"POST", b"PURGE"),
        (b"/a?b=c", b"http://example.com/"),
        (b"x (y)", b"\xe9"),
    ],
)
def test_what_is_unusual_is_left_to_the_strict_rules(change: Any) -> None:
    assert find_ordinary(HEAD.replace(*change)) is None
