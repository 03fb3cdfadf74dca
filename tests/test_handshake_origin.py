"""Who may connect (RFC 6455, section 10.2)."""

import re
from typing import Any

import pytest
from opening import open_handshake, parse, refuse
from together import together
from wire import hixie_headers, upgrade_headers

from sockwave.handshake import read_origin
from sockwave.options import Options

OWN = "http://example.com"
VERSIONS = pytest.mark.parametrize("version", [75, 76, 7, 8, 13])

# What gets past a careless comparison with http://example.com.
STRANGERS = [
    "http://evil.example",
    "null",
    "http://example.com.evil.com",
    "http://evilexample.com",
    "http://example.com@evil.com",
    "http://sub.example.com",
    "http://example.com.",
    "http://example.com:8000",
    "http://example.com:443",
    "https://example.com",
    "ws://example.com",
    "http://example.com/",
    "http://xn--exmple-4nf.com",
    "example.com",
    "http://",
    "http://example.com http://evil.example",
    "",
]


def ask(version: int, origin: str | None, host: str = "example.com") -> dict[str, str]:
    """Give the headers of a request of any version that comes from `origin`."""
    headers = hixie_headers(version) if version > 70 else upgrade_headers(version)
    headers["Host"] = host
    headers.pop("Origin", None)
    if origin is not None:
        headers["Sec-WebSocket-Origin" if version in (7, 8) else "Origin"] = origin
    return headers


def is_accepted(version: int, origin: str | None, policy: Any, **more: Any) -> bool:
    """Tell whether `policy` lets a request through; a refusal must be a 403."""
    host = more.pop("host", "example.com")
    asked: list[bool] = []
    headers = ask(version, origin, host)
    try:
        open_handshake(parse(headers), origin=policy, **more)
    except Exception:
        asked.append(False)
        assert refuse(headers, origin=policy, **more).status == 403
    return not asked


@together
@VERSIONS
@pytest.mark.parametrize("origin", [None, "null", "http://evil.example", OWN])
def test_everyone_may_connect_by_default(version: int, origin: str | None) -> None:
    assert open_handshake(parse(ask(version, origin)))[2]


@together
@VERSIONS
@pytest.mark.parametrize(
    "policy", [OWN, [OWN, "http://other.example"], "same-origin", re.compile(re.escape(OWN))]
)
@pytest.mark.parametrize("origin", STRANGERS)
def test_a_stranger_is_refused_with_403(version: int, policy: Any, origin: str) -> None:
    refused = refuse(ask(version, origin), origin=policy)
    assert refused.status == 403


@together
@VERSIONS
@pytest.mark.parametrize("policy", [OWN, [OWN], "same-origin", re.compile(".*")])
def test_a_missing_origin_is_refused_with_403(version: int, policy: Any) -> None:
    assert refuse(ask(version, None), origin=policy).status == 403


@together
@VERSIONS
@pytest.mark.parametrize(
    "policy", [OWN, ["null", OWN], "same-origin", re.compile(r"http://ex.*\.com")]
)
@pytest.mark.parametrize("origin", [OWN, "HTTP://EXAMPLE.com", "http://example.com:80"])
def test_a_listed_origin_is_accepted_whatever_its_case(
    version: int, policy: Any, origin: str
) -> None:
    assert is_accepted(version, origin, policy)


@together
@VERSIONS
@pytest.mark.parametrize("name", ["null", "file://"])
def test_an_origin_without_a_host_is_accepted_just_where_it_is_listed(
    version: int, name: str
) -> None:
    assert is_accepted(version, name, name)
    assert is_accepted(version, name, [OWN, name])
    assert is_accepted(version, name, lambda origin: origin == name)
    assert not is_accepted(version, name.upper(), name)
    assert not is_accepted(version, None, name)
    for policy in (OWN, [None], "same-origin", re.compile(".*"), re.compile("null|file://")):
        assert not is_accepted(version, name, policy)


@VERSIONS
def test_none_in_the_list_is_a_missing_origin_and_nothing_else(version: int) -> None:
    for policy in ([None], [OWN, None], {None, OWN}, (None, "null"), iter([OWN, None])):
        listed = Options(origin=policy).origin
        assert is_accepted(version, None, listed)
        for origin in ("", "None", "none", "http://none", "file://"):
            assert not is_accepted(version, origin, listed)


def test_null_is_accepted_when_it_is_listed() -> None:
    assert is_accepted(13, "null", ["null"])
    assert not is_accepted(13, "null", [OWN])


def test_a_pattern_must_match_the_whole_origin() -> None:
    pattern = re.compile(r"https://[a-z]+\.example\.com")
    assert is_accepted(13, "https://chat.example.com", pattern)
    assert not is_accepted(13, "https://chat.example.com.evil.com", pattern)
    assert not is_accepted(13, "xhttps://chat.example.com", pattern)


@pytest.mark.parametrize(
    ("origin", "host", "secure"),
    [
        ("http://localhost:8000", "localhost:8000", False),
        ("http://example.com", "example.com:80", False),
        ("https://example.com", "EXAMPLE.com", True),
        ("https://example.com", "example.com:443", True),
        ("https://[::1]:8443", "[::1]:8443", True),
    ],
)
def test_the_same_origin_has_the_scheme_host_and_port_of_the_request(
    origin: str, host: str, secure: bool
) -> None:
    assert is_accepted(13, origin, "same-origin", host=host, secure=secure)
    assert not is_accepted(13, origin, "same-origin", host=host, secure=not secure)
    assert not is_accepted(13, origin + "0", "same-origin", host=host, secure=secure)


def test_a_function_is_asked_about_every_origin_even_a_missing_one() -> None:
    seen = []

    def policy(origin: str | None) -> bool:
        seen.append(origin)
        return origin is None or origin.endswith(".test")

    assert is_accepted(13, None, policy)
    assert is_accepted(8, "http://a.test", policy)
    assert seen == [None, "http://a.test"]
    assert not is_accepted(13, OWN, policy)


@pytest.mark.parametrize("returned", [None, 1, "yes"])
def test_a_function_that_does_not_return_a_bool_is_an_error_of_the_application(
    returned: Any,
) -> None:
    with pytest.raises(TypeError, match="origin: expected the function to return bool"):
        open_handshake(parse(ask(13, OWN)), origin=lambda origin: returned)


def test_an_exception_of_the_function_is_an_error_of_the_application() -> None:
    def policy(origin: str | None) -> bool:
        raise KeyError(origin)

    with pytest.raises(KeyError, match=OWN):
        open_handshake(parse(ask(13, OWN)), origin=policy)


# ---- reading -------------------------------------------------------------------------------------


@together
@VERSIONS
@pytest.mark.parametrize("second", [OWN, "http://evil.example"])
def test_two_origins_are_refused_with_400(version: int, second: str) -> None:
    pairs = [*ask(version, OWN).items()]
    name = "Sec-WebSocket-Origin" if version in (7, 8) else "Origin"
    assert refuse([*pairs, (name, second)]).status == 400


@pytest.mark.parametrize("version", [7, 8])
def test_two_names_for_the_origin_must_agree(version: int) -> None:
    headers = ask(version, OWN)
    assert open_handshake(parse(headers | {"Origin": OWN}), origin=OWN)[2]
    assert refuse(headers | {"Origin": "http://evil.example"}).status == 400


@pytest.mark.parametrize("version", [7, 8])
def test_the_hybi_drafts_may_call_the_origin_by_its_later_name(version: int) -> None:
    headers = upgrade_headers(version) | {"Origin": OWN}
    assert open_handshake(parse(headers), origin=OWN)[2]


@pytest.mark.parametrize("version", [75, 76, 13])
def test_no_other_version_may_call_it_by_the_earlier_name(version: int) -> None:
    headers = ask(version, None) | {"Sec-WebSocket-Origin": OWN}
    assert refuse(headers, origin=OWN).status == 403


@together
@VERSIONS
@pytest.mark.parametrize("character", ["\x00", "\r", "\n", "\x1b", "\x7f", "\x85", "\xe9"])
def test_an_origin_that_is_not_printable_ascii_is_refused_with_400(
    version: int, character: str
) -> None:
    assert refuse(ask(version, f"http://a{character}b")).status == 400


def test_the_origin_is_read_as_it_was_sent() -> None:
    assert (
        read_origin(parse(ask(13, "HTTP://Example.com:80")), "rfc6455") == "HTTP://Example.com:80"
    )
    assert read_origin(parse(ask(13, None)), "rfc6455") is None
