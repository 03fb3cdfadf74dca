"""What may stand in a header field that we send (RFC 9110, sections 5.1, 5.5 and 5.6.2)."""

import string

import pytest

from sockwave.fields import check_header, check_headers, has_controls, is_token


def test_a_token_holds_the_characters_of_rfc_9110() -> None:
    allowed = set("!#$%&'*+-.^_`|~" + string.digits + string.ascii_letters)
    assert {chr(code) for code in range(0x250) if is_token(chr(code))} == allowed


def test_the_empty_string_is_no_token() -> None:
    assert not is_token("")


def test_controls_are_c0_but_tab_and_del_and_c1() -> None:
    controls = {code for code in range(0x250) if has_controls(f"a{chr(code)}b")}
    assert controls == {*range(0x20), *range(0x7F, 0xA0)} - {0x09}


def test_a_header_is_returned_as_it_was_given() -> None:
    assert check_header("X-Name", "a\tvalue, ÿ") == ("X-Name", "a\tvalue, ÿ")


def test_headers_are_taken_from_a_mapping_and_from_pairs() -> None:
    assert check_headers({"A": "1", "B": "2"}) == (("A", "1"), ("B", "2"))
    assert check_headers(iter([("A", "1"), ("A", "2")])) == (("A", "1"), ("A", "2"))


@pytest.mark.parametrize("code", [0x0A, 0x0D, 0x00, 0x85])
def test_a_character_that_ends_a_line_somewhere_is_refused_in_name_and_value(code: int) -> None:
    with pytest.raises(ValueError, match="header name"):
        check_header(f"A{chr(code)}", "b")
    with pytest.raises(ValueError, match="header A"):
        check_header("A", chr(code))
