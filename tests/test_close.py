"""Close codes and the payload of a close frame (RFC 6455, sections 5.5.1 and 7.4)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from together import together

from sockwave.close import CloseCode, encode_close, is_sendable

SENDABLE = {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}


def test_the_sendable_codes_are_those_of_rfc_6455_and_the_registry() -> None:
    assert {code for code in range(-10, 0x10100) if is_sendable(code)} == SENDABLE


def test_every_registered_code_has_a_meaning_of_one_line() -> None:
    codes = {int(code) for code in CloseCode}
    assert codes == {*range(1000, 1016), 3000, 3003, 3008}
    for code in CloseCode:
        assert code.meaning
        assert "\n" not in code.meaning


def test_a_close_code_is_an_int() -> None:
    assert CloseCode.GOING_AWAY == 1001
    assert CloseCode(1009) is CloseCode.MESSAGE_TOO_BIG
    assert encode_close(CloseCode.GOING_AWAY, "") == b"\x03\xe9"


def test_the_payload_is_the_code_in_network_order_and_the_reason_in_utf_8() -> None:
    assert encode_close(1000, "") == b"\x03\xe8"
    assert encode_close(1000, "Grüße 👋") == b"\x03\xe8" + "Grüße 👋".encode()
    assert encode_close(4999, "x" * 123) == b"\x13\x87" + b"x" * 123


@together
@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65536, -1])
def test_a_code_that_may_not_be_sent_is_refused(code: int) -> None:
    with pytest.raises(ValueError, match=rf"1000-1003, 1007-1014 or 3000-4999, given {code}$"):
        encode_close(code, "")


@pytest.mark.parametrize("code", ["1000", 1000.0, None, True, b"\x03\xe8"])
def test_a_code_of_another_type_is_refused(code: Any) -> None:
    with pytest.raises(TypeError, match="close code: expected int, given"):
        encode_close(code, "")


@pytest.mark.parametrize("reason", [b"bye", None, 1])
def test_a_reason_of_another_type_is_refused(reason: Any) -> None:
    with pytest.raises(TypeError, match="close reason: expected str, given"):
        encode_close(1000, reason)


@pytest.mark.parametrize("reason", ["x" * 124, "é" * 62, "👋" * 31])
def test_a_reason_of_more_than_123_bytes_is_refused(reason: str) -> None:
    with pytest.raises(ValueError, match="expected at most 123 bytes of UTF-8, given 124"):
        encode_close(1000, reason)


@together
@pytest.mark.parametrize("control", ["\r", "\n", "\0", "\x0b", "\x0c", "\x1c", "\x1e", "\x85"])
def test_a_reason_with_a_control_character_is_refused(control: str) -> None:
    with pytest.raises(ValueError, match="close reason: expected no control characters"):
        encode_close(1000, f"a{control}b")


def test_a_reason_with_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(ValueError, match="close reason: expected no lone surrogate"):
        encode_close(1000, "\udfff")


@given(st.sampled_from(sorted(SENDABLE)) | st.integers(), st.text())
@pytest.mark.slow
def test_any_close_is_either_a_short_payload_or_a_value_error(code: int, reason: str) -> None:
    try:
        payload = encode_close(code, reason)
    except ValueError:
        return
    assert code in SENDABLE
    assert len(payload) <= 125
    assert int.from_bytes(payload[:2], "big") == code
    assert payload[2:].decode() == reason
