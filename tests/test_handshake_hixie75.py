"""The answer of draft 75, and what both drafts echo (draft-hixie-…-75, section 5)."""

import pytest
from opening import open_handshake, parse, refuse
from together import together
from wire import hixie_headers


def test_the_answer_byte_for_byte() -> None:
    headers = hixie_headers(75) | {"Host": "Example.com:8000", "WebSocket-Protocol": "sample"}
    head = parse(headers, target="/demo?a=1&b=%20")
    version, subprotocol, response = open_handshake(head, subprotocol="sample")
    assert (version, subprotocol) == ("draft75", "sample")
    assert response == (
        b"HTTP/1.1 101 Web Socket Protocol Handshake\r\n"
        b"Upgrade: WebSocket\r\n"
        b"Connection: Upgrade\r\n"
        b"WebSocket-Origin: http://example.com\r\n"
        b"WebSocket-Location: ws://Example.com:8000/demo?a=1&b=%20\r\n"
        b"WebSocket-Protocol: sample\r\n"
        b"\r\n"
    )


def test_the_location_of_a_connection_in_tls_is_wss() -> None:
    response = open_handshake(parse(hixie_headers(75)), secure=True)[2]
    assert b"\r\nWebSocket-Location: wss://example.com/\r\n" in response


def test_a_request_without_origin_is_answered_without_one() -> None:
    headers = hixie_headers(75)
    del headers["Origin"]
    assert b"Origin" not in open_handshake(parse(headers))[2]


@together
@pytest.mark.parametrize("draft", [75, 76])
@pytest.mark.parametrize("byte", [0x00, 0x0A, 0x0D, 0x7F, 0x80, 0x85, 0xE9, 0xFF])
def test_what_would_be_echoed_is_refused_unless_it_is_ascii(draft: int, byte: int) -> None:
    headers = hixie_headers(draft)
    assert refuse(headers | {"Origin": f"http://a{chr(byte)}b"}).status == 400
    assert refuse(headers | {"Host": f"a{chr(byte)}b"}).status == 400
    assert refuse(headers, target=f"/a{chr(byte)}b").status == 400


@pytest.mark.parametrize("draft", [75, 76])
def test_an_origin_cannot_inject_a_header(draft: int) -> None:
    headers = hixie_headers(draft) | {"Origin": "http://a\r\n Set-Cookie: a=b"}
    assert refuse(headers).status == 400
