"""Key and answer of RFC 6455, section 4.2, and of hybi-07 and -08."""

import base64

import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from opening import open_handshake, parse, refuse
from together import together
from wire import ACCEPT, KEY, upgrade_headers

from sockwave.core.opening.fast_request import write_answer
from sockwave.handshake import answer

VERSIONS = pytest.mark.parametrize("version", [7, 8, 13])


def test_the_accept_value_is_that_of_the_rfc() -> None:
    answer = write_answer(b"dGhlIHNhbXBsZSBub25jZQ==", b"")
    assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answer


@given(st.binary(min_size=16, max_size=16))
def test_the_accept_value_is_that_of_the_reference(nonce: bytes) -> None:
    key = base64.b64encode(nonce).decode()
    _, _, response = open_handshake(parse(upgrade_headers() | {"Sec-WebSocket-Key": key}))
    assert f"\r\nSec-WebSocket-Accept: {reference.accept_value(key)}\r\n".encode() in response


@VERSIONS
def test_the_answer_byte_for_byte(version: int) -> None:
    _, _, response = open_handshake(parse(upgrade_headers(version)))
    assert response == (
        b"HTTP/1.1 101 Switching Protocols\r\n"
        b"Upgrade: websocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + ACCEPT.encode() + b"\r\n"
        b"\r\n"
    )


def test_the_answer_with_a_subprotocol_and_more_headers_byte_for_byte() -> None:
    head = parse(upgrade_headers() | {"Sec-WebSocket-Protocol": "chat"})
    cookies = [("Set-Cookie", "a=\xfc"), ("Set-Cookie", "b=2")]
    response = answer(head, "rfc6455", subprotocol="chat", extra_headers=cookies)
    assert response == (
        b"HTTP/1.1 101 Switching Protocols\r\n"
        b"Upgrade: websocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
        b"Sec-WebSocket-Protocol: chat\r\n"
        b"Set-Cookie: a=\xfc\r\n"
        b"Set-Cookie: b=2\r\n"
        b"\r\n"
    )


@VERSIONS
def test_a_missing_key_is_refused(version: int) -> None:
    headers = upgrade_headers(version)
    del headers["Sec-WebSocket-Key"]
    assert refuse(headers).status == 400


@together
@VERSIONS
@pytest.mark.parametrize("second", [KEY, "AAAAAAAAAAAAAAAAAAAAAA=="])
def test_a_repeated_key_is_refused(version: int, second: str) -> None:
    pairs = [*upgrade_headers(version).items(), ("Sec-WebSocket-Key", second)]
    assert refuse(pairs).status == 400


@together
@VERSIONS
@pytest.mark.parametrize(
    "key",
    [
        "",
        "x",
        KEY[:-1],
        KEY + "=",
        KEY + KEY,
        KEY.replace("=", ""),
        base64.b64encode(bytes(15)).decode(),
        base64.b64encode(bytes(17)).decode(),
        base64.b64encode(bytes(18)).decode(),
        "dGhlIHNhbXBsZSBub25jZ===",
        "dGhlIHNhbXBsZSBub25jZQ=A",
        "=GhlIHNhbXBsZSBub25jZQ==",
        "dGhlIHNhbXBsZSB-_25jZQ==",
        "dGhlIHNh XBsZSBub25jZQ==",
        "dGhlIHNh\xfcXBsZSBub25jZQ==",
        "dGhlIHNh\xfcBsZSBub25jZQ==",
        "A" * 8000,
    ],
)
def test_a_key_that_is_not_16_bytes_in_base64_is_refused(version: int, key: str) -> None:
    assert refuse(upgrade_headers(version) | {"Sec-WebSocket-Key": key}).status == 400


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=30))
def test_a_key_is_accepted_just_when_it_is_the_base64_of_16_bytes(key: str) -> None:
    raw = parse(upgrade_headers() | {"Sec-WebSocket-Key": key})
    try:
        valid = len(base64.b64decode(key, validate=True)) == 16
    except ValueError:
        valid = False
    if valid:
        assert open_handshake(raw)[0] == "rfc6455"
    else:
        assert refuse(upgrade_headers() | {"Sec-WebSocket-Key": key}).status == 400
