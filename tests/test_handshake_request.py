"""What every version asks of the opening request (RFC 6455, section 4.2.1)."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opening import expect_linear, open_handshake, parse, refuse
from together import together
from wire import build_request, hixie_headers, upgrade_headers

from sockwave.errors import Refused
from sockwave.handshake import check, identify
from sockwave.handshake.request import contains_token, split_list
from sockwave.http import RequestHead, parse_head
from sockwave.limits import Limits
from sockwave.options import Options
from sockwave.versions import VERSIONS as VERSION_NAMES

VERSIONS = pytest.mark.parametrize(
    "headers",
    [
        hixie_headers(75),
        hixie_headers(76),
        upgrade_headers(7),
        upgrade_headers(8),
        upgrade_headers(13),
    ],
    ids=["draft75", "draft76", "hybi-07", "hybi-08", "rfc6455"],
)


@together
@VERSIONS
@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "OPTIONS"])
def test_any_method_but_get_is_refused(headers: dict[str, str], method: str) -> None:
    assert refuse(headers, method=method).status == 400


@together
@VERSIONS
@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.2", b"HTTP/0.9"])
def test_any_http_version_but_1_1_is_refused(headers: dict[str, str], version: bytes) -> None:
    raw = parse(headers).raw.replace(b"HTTP/1.1", version)
    with pytest.raises(Refused) as caught:
        open_handshake(parse_head(raw, Limits()))
    assert caught.value.status in (400, 505)


@together
@VERSIONS
@pytest.mark.parametrize(
    "target", ["chat", "*", "http://example.com/chat", "ws://example.com/", "example.com:80", ""]
)
def test_a_target_that_does_not_start_with_a_slash_is_refused(
    headers: dict[str, str], target: str
) -> None:
    assert refuse(headers, target=target).status == 400


@VERSIONS
def test_a_missing_host_is_refused(headers: dict[str, str]) -> None:
    assert refuse({name: value for name, value in headers.items() if name != "Host"}).status == 400


@together
@VERSIONS
@pytest.mark.parametrize("second", ["example.com", "evil.example"])
def test_a_repeated_host_is_refused(headers: dict[str, str], second: str) -> None:
    assert refuse([*headers.items(), ("Host", second)]).status == 400


@together
@VERSIONS
@pytest.mark.parametrize(
    "host",
    [
        *("", "a b", "b\xfccher.example", "a\x85b", "a\tb"),
        *(":80", "a:b:c", "[::1", "a:99999999", "a%2", "me@a"),
    ],
)
def test_a_malformed_host_is_refused(headers: dict[str, str], host: str) -> None:
    assert refuse(headers | {"Host": host}).status == 400


@together
@VERSIONS
@pytest.mark.parametrize("upgrade", ["WEBSOCKET", "h2c, WebSocket", "websocket,", "\twebsocket "])
def test_upgrade_is_a_list_of_tokens_compared_without_case(
    headers: dict[str, str], upgrade: str
) -> None:
    assert b" 101 " in open_handshake(parse(headers | {"Upgrade": upgrade}))[2]


@together
@VERSIONS
@pytest.mark.parametrize(
    "connection",
    ["upgrade", "keep-alive, Upgrade", "Upgrade,keep-alive", "keep-alive\t,\tUPGRADE ,"],
)
def test_connection_is_a_list_of_tokens_compared_without_case(
    headers: dict[str, str], connection: str
) -> None:
    assert b" 101 " in open_handshake(parse(headers | {"Connection": connection}))[2]


@VERSIONS
def test_connection_may_be_repeated(headers: dict[str, str]) -> None:
    pairs = [("Connection", "keep-alive"), *headers.items()]
    assert b" 101 " in open_handshake(parse(pairs))[2]


@together
@VERSIONS
@pytest.mark.parametrize("name", ["Upgrade", "Connection"])
@pytest.mark.parametrize("value", ["", "keep-alive", "upgrades", "web socket", "x-websocket", ","])
def test_a_missing_token_is_refused(headers: dict[str, str], name: str, value: str) -> None:
    assert refuse(headers | {name: value}).status == 400
    without = {other: kept for other, kept in headers.items() if other != name}
    assert refuse(without).status == 400


@together
@VERSIONS
@pytest.mark.parametrize("length", ["1", "9", "1000000", "08", "+8", "8_0", "0x8"])
def test_a_body_is_refused(headers: dict[str, str], length: str) -> None:
    assert refuse(headers | {"Content-Length": length}).status == 400


@together
@VERSIONS
@pytest.mark.parametrize("coding", ["chunked", "identity", "gzip, chunked"])
def test_a_transfer_encoding_is_refused(headers: dict[str, str], coding: str) -> None:
    assert refuse(headers | {"Transfer-Encoding": coding}).status in (400, 501)


@pytest.mark.parametrize("version", [7, 8, 13])
def test_a_body_of_nothing_is_accepted(version: int) -> None:
    head = parse(upgrade_headers(version) | {"Content-Length": "0"})
    assert b" 101 " in open_handshake(head)[2]


@together
@pytest.mark.parametrize("filling", [" ", ",", '"', "\\", "a,", ", ", "upgrade ", "\t", ";="])
@pytest.mark.parametrize("name", ["connection", "upgrade", "sec-websocket-protocol"])
def test_a_long_list_costs_no_more_than_its_length(name: str, filling: str) -> None:
    def take(size: int) -> None:
        with contextlib.suppress(Refused):
            contains_token([filling * (size // len(filling))], "websocket", name)

    expect_linear(take)


def test_a_list_has_a_hundred_elements_at_most() -> None:
    assert len(split_list([",".join(["a"] * 100)], "Upgrade")) == 100
    with pytest.raises(Refused, match="at most 100 elements"):
        split_list([",".join(["a"] * 101)], "Upgrade")
    with pytest.raises(Refused, match="at most 100 elements"):
        split_list(["a"] * 101, "Upgrade")


def test_only_space_and_tab_are_white_space_in_a_list() -> None:
    assert split_list([" a\t,\x85b\xa0, ,c"], "Upgrade") == ["a", "\x85b\xa0", "c"]


# ---- heads that nobody has checked ---------------------------------------------------------------


def check_raw(raw: bytes) -> None:
    """Check a request as it would come from a front that lets everything pass."""
    head = RequestHead(raw)
    check(head, identify(head), VERSION_NAMES, "*")


@together
@VERSIONS
@pytest.mark.parametrize(
    ("sent", "instead"),
    [
        (b"Host: example.com\r\n", b""),
        (b"Host: example.com\r\n", b"Host:\r\n"),
        (b"Host: example.com\r\n", b"Host: example.com\r\nhost: example.com\r\n"),
        (b"Host: example.com\r\n", b"Host: a b\r\n"),
        (b"Host: example.com\r\n", b"Host: a:b\r\n"),
        (b"Host: example.com\r\n", b"Host: a\nX: y\r\n"),
        (b"Host: example.com\r\n", b"Host: \xe9\r\n"),
        (b"GET /", b"GET /\n"),
        (b"GET /", b"GET /\0"),
        (b"GET /", b"GET /\x85"),
        (b"HTTP/1.1", b"HTTP/2.0"),
    ],
)
def test_the_handshake_does_not_rely_on_the_http_parser(
    headers: dict[str, str], sent: bytes, instead: bytes
) -> None:
    raw = build_request(headers)
    check_raw(raw)
    assert sent in raw
    with pytest.raises(Refused) as caught:
        check_raw(raw.replace(sent, instead))
    assert caught.value.status == 400


@pytest.mark.parametrize("draft", [75, 76])
def test_the_drafts_do_not_echo_a_target_that_is_not_ascii(draft: int) -> None:
    with pytest.raises(Refused, match="expected a request target in ASCII") as caught:
        check_raw(build_request(hixie_headers(draft), target="/caf\xe9"))
    assert caught.value.status == 400


# ---- every byte everywhere -----------------------------------------------------------------------

FIELDS = [
    "Host",
    "Origin",
    "Sec-WebSocket-Origin",
    "Sec-WebSocket-Protocol",
    "WebSocket-Protocol",
    "Sec-WebSocket-Extensions",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Key1",
    "Sec-WebSocket-Key2",
    "Sec-WebSocket-Version",
    "Cookie",
    "Upgrade",
    "Connection",
    "Content-Length",
]
SAMPLES = {"Origin": "http://example.com", "Cookie": "a=b", "Sec-WebSocket-Protocol": "chat"}


# Thousands of requests are judged by the same ones.
LIMITS = Limits()
CHAT = Options(subprotocol="chat")


def expect_answer_or_refusal(raw: bytes) -> None:
    """Check that a request is answered with 101 or refused with a status of the right class."""
    response, status = b"", 101
    try:
        response = open_handshake(parse_head(raw, LIMITS), checked=CHAT)[2]
    except Refused as refused:
        status = refused.status
    assert status in (400, 426, 501, 505) or response.startswith(b"HTTP/1.1 101 ")
    block, _, _ = response.partition(b"\r\n\r\n")
    for line in block.split(b"\r\n"):
        assert not set(line) & {0, 10, 13}


@pytest.mark.slow
@together
@VERSIONS
@pytest.mark.parametrize("name", FIELDS)
def test_every_byte_in_every_header_is_answered_or_refused(
    headers: dict[str, str], name: str
) -> None:
    value = headers.get(name, SAMPLES.get(name, "x"))
    for byte in range(256):
        for place in (0, len(value) // 2, len(value)):
            spoilt = value[:place] + chr(byte) + value[place:]
            block = "".join(f"{n}: {v}\r\n" for n, v in {**headers, name: spoilt}.items())
            expect_answer_or_refusal(f"GET / HTTP/1.1\r\n{block}\r\n".encode("latin-1"))


@pytest.mark.slow
@VERSIONS
def test_every_byte_in_the_request_line_is_answered_or_refused(headers: dict[str, str]) -> None:
    raw = parse(headers, target="/path").raw
    for byte in range(256):
        for place in range(raw.index(b"\r\n")):
            expect_answer_or_refusal(raw[:place] + bytes([byte]) + raw[place:])
            expect_answer_or_refusal(raw[:place] + bytes([byte]) + raw[place + 1 :])


@given(st.binary(max_size=60), st.sampled_from(FIELDS), st.sampled_from([75, 76, 7, 8, 13]))
def test_any_bytes_in_any_header_are_answered_or_refused(
    value: bytes, name: str, version: int
) -> None:
    headers = hixie_headers(version) if version > 70 else upgrade_headers(version)
    headers.pop(name, None)
    raw = build_request(headers)
    expect_answer_or_refusal(raw[:-2] + name.encode() + b": " + value + b"\r\n\r\n")
