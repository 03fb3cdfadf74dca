"""Keys and answer of draft 76 (draft-hixie-…-76, sections 1.3 and 5)."""

import contextlib
from random import Random

import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from opening import expect_linear, open_handshake, parse, refuse
from together import together
from wire import KEY1, KEY2, KEY3, hixie_headers

from sockwave.errors import Refused
from sockwave.handshake import answer
from sockwave.handshake.hixie76 import read_number, sign

LARGEST = 0xFFFFFFFF


def test_the_keys_of_the_draft_give_its_answer() -> None:
    assert read_number("4 @1  46546xW%0l 1 5") == 829309203
    assert read_number("12998 5 Y3 1  .P00") == 259970620
    assert sign(829309203, 259970620, b"^n:ds[4U") == b"8jKS'y:G*Co,Wxa-"


def test_the_answer_byte_for_byte() -> None:
    headers = hixie_headers(76) | {"Sec-WebSocket-Protocol": "sample"}
    head = parse(headers, target="/demo")
    version, subprotocol, response = open_handshake(head, subprotocol="sample")
    assert (version, subprotocol) == ("draft76", "sample")
    assert response == (
        b"HTTP/1.1 101 WebSocket Protocol Handshake\r\n"
        b"Upgrade: WebSocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Origin: http://example.com\r\n"
        b"Sec-WebSocket-Location: ws://example.com/demo\r\n"
        b"Sec-WebSocket-Protocol: sample\r\n"
        b"\r\n"
        b"8jKS'y:G*Co,Wxa-"
    )


def test_the_location_of_a_connection_in_tls_is_wss() -> None:
    response = open_handshake(parse(hixie_headers(76)), secure=True)[2]
    assert b"\r\nSec-WebSocket-Location: wss://example.com/\r\n" in response


def test_a_request_without_origin_is_answered_without_one() -> None:
    headers = hixie_headers(76)
    del headers["Origin"]
    assert b"Origin" not in open_handshake(parse(headers))[2]


@pytest.mark.parametrize("key3", [b"\r\n\r\n\r\n\r\n", bytes(8), b"\xff" * 8])
def test_the_third_key_is_any_eight_bytes(key3: bytes) -> None:
    response = open_handshake(parse(hixie_headers(76)), key3=key3)[2]
    assert response.endswith(b"\r\n\r\n" + reference.answer_76(KEY1, KEY2, key3))


@pytest.mark.parametrize("key3", [None, b"", KEY3[:-1], KEY3 + b"x"])
def test_an_answer_needs_the_third_key(key3: bytes | None) -> None:
    with pytest.raises(ValueError, match="key3: expected 8 bytes, given"):
        answer(parse(hixie_headers(76)), "draft76", key3=key3)


# ---- numbers -------------------------------------------------------------------------------------


@together
@pytest.mark.parametrize(
    ("key", "number"),
    [
        ("0 0", 0),
        ("1 0", 10),
        ("4 294967295", LARGEST),
        ("a4b2c9 4967295d", LARGEST),
        ("0" * 4000 + " 7", 7),
        ("8 5 8 9 9 3 4 5 3 x", 858993453 // 9),
        (str(LARGEST * 1000) + " " * 1000 + "x", LARGEST),
    ],
)
def test_a_number_is_all_the_digits_over_the_spaces(key: str, number: int) -> None:
    assert read_number(key) == number


REFUSED_KEYS = [
    pytest.param("1234567890", id="no space"),
    pytest.param("x y z", id="no digit"),
    pytest.param("", id="nothing"),
    pytest.param(" ", id="a space alone"),
    pytest.param("1 0 3", id="not a multiple"),
    pytest.param("4 294967296", id="over 32 bits"),
    pytest.param("8 589934592 x", id="over 32 bits with two spaces"),
    pytest.param("9" * 4000 + " 0", id="thousands of digits"),
    pytest.param("9" * 5000 + " 0", id="more digits than int() takes"),
    pytest.param("1" + "0" * 20 + " ", id="21 digits"),
    pytest.param("\xb2\xb3 \xb9", id="digits that are not ASCII"),
    pytest.param("1\xa00", id="a space that is not ASCII"),
    pytest.param("1\t0", id="a tab for a space"),
]


@together
@pytest.mark.parametrize("key", REFUSED_KEYS)
def test_a_key_that_stands_for_no_number_is_refused(key: str) -> None:
    with pytest.raises(Refused) as caught:
        read_number(key)
    assert caught.value.status == 400


@together
@pytest.mark.parametrize("name", ["Sec-WebSocket-Key1", "Sec-WebSocket-Key2"])
@pytest.mark.parametrize("key", REFUSED_KEYS)
def test_a_request_with_such_a_key_is_refused(name: str, key: str) -> None:
    assert refuse(hixie_headers(76) | {name: key}).status == 400


@pytest.mark.parametrize("name", ["Sec-WebSocket-Key1", "Sec-WebSocket-Key2"])
def test_a_repeated_key_is_refused(name: str) -> None:
    headers = hixie_headers(76)
    assert refuse([*headers.items(), (name, headers[name])]).status == 400


@pytest.mark.parametrize("name", ["Sec-WebSocket-Key1", "Sec-WebSocket-Key2"])
def test_a_missing_key_is_refused(name: str) -> None:
    headers = hixie_headers(76)
    del headers[name]
    assert refuse(headers).status == 400


@given(st.text(st.characters(max_codepoint=0xFF), max_size=60))
def test_any_key_is_the_number_of_the_definition_or_refused(key: str) -> None:
    digits = "".join(character for character in key if character in "0123456789")
    spaces = key.count(" ")
    if not digits or not spaces or int(digits) % spaces or int(digits) // spaces > LARGEST:
        with pytest.raises(Refused):
            read_number(key)
    else:
        assert read_number(key) == int(digits) // spaces


@given(
    st.integers(0, LARGEST),
    st.integers(1, 12),
    st.text("abcXYZ!%&/", max_size=12),
    st.randoms(use_true_random=False),
)
def test_a_key_made_as_a_client_makes_it_is_read_back(
    number: int, spaces: int, noise: str, random: Random
) -> None:
    key = list(str(number * spaces))
    for character in " " * spaces + noise:
        key.insert(random.randint(0, len(key)), character)
    assert read_number("".join(key)) == number


@pytest.mark.parametrize("filling", ["9", " ", "9 ", "0", "x"])
def test_a_long_key_costs_no_more_than_its_length(filling: str) -> None:
    def take(size: int) -> None:
        with contextlib.suppress(Refused):
            read_number(filling * (size // len(filling)))

    expect_linear(take)


# ---- bodies and proxies --------------------------------------------------------------------------


def test_a_content_length_of_exactly_eight_is_accepted() -> None:
    response = open_handshake(parse(hixie_headers(76) | {"Content-Length": "8"}))[2]
    assert response.endswith(b"8jKS'y:G*Co,Wxa-")


@together
@pytest.mark.parametrize("length", ["0", "7", "9", "16", "08", "8, 8", "-8", ""])
def test_any_other_content_length_is_refused(length: str) -> None:
    assert refuse(hixie_headers(76) | {"Content-Length": length}).status == 400


def test_a_repeated_content_length_is_refused() -> None:
    pairs = [*hixie_headers(76).items(), ("Content-Length", "8"), ("Content-Length", "8")]
    assert refuse(pairs).status == 400


@together
@pytest.mark.parametrize(
    "header",
    ["Via", "FORWARDED", "X-Forwarded-For", "x-forwarded-proto", "X-Real-IP", "Proxy-Connection"],
)
def test_a_proxy_on_the_way_is_refused(header: str) -> None:
    assert refuse(hixie_headers(76) | {header: "1.1 proxy"}).status == 400


def test_a_proxy_on_the_way_of_draft_75_is_accepted() -> None:
    assert open_handshake(parse(hixie_headers(75) | {"Via": "1.1 proxy"}))[0] == "draft75"
