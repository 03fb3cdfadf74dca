"""What may stand in a header field (RFC 9110, sections 5.1, 5.5, 5.6.2 and 7.2)."""

import string

import pytest

from sockwave.fields import check_header, check_headers, has_controls, is_host, is_token


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


HOSTS = [
    "a",
    "A.example",
    "a_b.c-d.",
    "xn--e1a",
    "a%2Fb%c3%A9",
    "!$&'()*+,;=~",
    "127.0.0.1",
    "999.1",
    "[::]",
    "[::1]",
    "[2001:DB8::1]",
    "[1:2:3:4:5:6:7:8]",
    "[1:2:3:4:5:6:7::]",
    "[::ffff:192.0.2.1]",
]
WRONG_HOSTS = [
    "",
    "a:b",
    "a:b:c",
    "a::80",
    "::1",
    "[::1",
    "::1]",
    "[]",
    "[::1]a",
    "a[::1]",
    "[[::1]]",
    "[1::2::3]",
    "[1:2:3:4:5:6:7]",
    "[1:2:3:4:5:6:7:8:9]",
    "[12345::]",
    "[::1.2.3]",
    "[::1.2.3.256]",
    "[::1%25eth0]",
    "[::1%eth0]",
    "[::1/64]",
    "[a]",
    "[127.0.0.1]",
    "[v1.a]",
    "%",
    "a%2",
    "a%2gb",
    "a%%41",
    "me@a",
    "me:secret@a",
    "a/b",
    "a?b",
    "a#b",
    "a\\b",
    "a b",
    " a",
    "a ",
    "a\n",
    'a"',
    "<a>",
    "{a}",
    "a|b",
    "a^b",
    "a`b",
    "\xe9",
    "\N{ARABIC-INDIC DIGIT FIVE}",
]


@pytest.mark.parametrize("port", ["", ":", ":0", ":80", ":00080", ":65535"])
def test_a_host_is_a_name_or_an_address_with_a_port_or_none(port: str) -> None:
    for host in HOSTS:
        assert is_host(host + port), host


def test_a_host_of_any_other_form_is_none() -> None:
    for host in WRONG_HOSTS:
        assert not is_host(host), host
        assert not is_host(host + ":80"), host


@pytest.mark.parametrize(
    "port",
    [
        ":65536",
        ":99999",
        ":000080",
        ":99999999",
        ":-1",
        ":+1",
        ":8_0",
        ":\N{ARABIC-INDIC DIGIT FIVE}",
        ":8 ",
        ":8:",
    ],
)
def test_a_port_is_a_number_up_to_65535(port: str) -> None:
    for host in HOSTS:
        assert not is_host(host + port), host


def test_a_host_is_checked_in_time_in_proportion_to_its_length() -> None:
    # Where a pattern can match in many ways, a byte at the end that fits none takes for ever.
    assert not is_host("a%41" * 10_000 + "/")
    assert not is_host("[" + "1:" * 10_000 + "]")
