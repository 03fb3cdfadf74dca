"""The exceptions, and what a refusal may hold (RFC 9110, section 5)."""

import pickle
from http import HTTPStatus
from typing import Any

import pytest
from together import together

from sockwave.errors import ConnectionClosed, Refused, SockwaveError


def test_every_exception_has_the_one_base() -> None:
    assert issubclass(ConnectionClosed, SockwaveError)
    assert issubclass(Refused, SockwaveError)


def test_connection_closed_tells_code_and_reason() -> None:
    error = ConnectionClosed(1001, "going home")
    assert (error.code, error.reason) == (1001, "going home")
    assert str(error) == "the connection is closed, code 1001: going home"
    assert str(ConnectionClosed(1006)) == "the connection is closed, code 1006"


@together
@pytest.mark.parametrize("reason", ["a\r\nb", "a\x1b[2J", "a\x85b", "a\u2028b", "a\u202eb", "a\0"])
def test_connection_closed_is_one_harmless_line(reason: str) -> None:
    error = ConnectionClosed(1000, reason)
    assert str(error).isprintable()
    assert str(error).startswith("the connection is closed, code 1000: a\\")
    assert error.reason == reason


def test_exceptions_survive_pickling() -> None:
    closed = pickle.loads(pickle.dumps(ConnectionClosed(1001, "home")))
    assert (closed.code, closed.reason) == (1001, "home")
    refused = pickle.loads(pickle.dumps(Refused(401, "who?", {"WWW-Authenticate": "Basic"})))
    assert (refused.status, refused.body) == (401, b"who?")
    assert refused.headers == (("WWW-Authenticate", "Basic"),)


def test_refused_is_403_without_a_body_by_default() -> None:
    refused = Refused()
    assert (refused.status, refused.body, refused.headers) == (403, b"", ())
    assert str(refused) == "refused with 403 Forbidden"


def test_refused_takes_text_bytes_and_repeated_headers() -> None:
    cookies = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=ü")]
    refused = Refused(HTTPStatus.UNAUTHORIZED, "wér?", cookies)
    assert refused.status == 401
    assert refused.body == "wér?".encode()
    assert refused.headers == tuple(cookies)
    assert Refused(503, b"\xff").body == b"\xff"
    assert str(Refused(499, "gone")) == "refused with 499: gone"


@together
@pytest.mark.parametrize("status", [0, 99, 101, 200, 204, 299, 600, -403])
def test_refused_takes_no_status_that_is_not_a_refusal(status: int) -> None:
    with pytest.raises(ValueError, match=f"status: expected 300 to 599, given {status}"):
        Refused(status)


@pytest.mark.parametrize("status", ["403", 403.0, None, True])
def test_refused_takes_no_status_of_another_type(status: Any) -> None:
    with pytest.raises(TypeError, match="status: expected int, given"):
        Refused(status)


def test_refused_takes_no_body_of_another_type() -> None:
    body: Any = {"error": "no"}
    with pytest.raises(TypeError, match="body: expected str or bytes, given dict"):
        Refused(403, body)
    with pytest.raises(ValueError, match="body: expected no lone surrogate"):
        Refused(403, "\ud800")


@together
@pytest.mark.parametrize("name", ["", "a b", "a:", "é", "a\r\nb", "a\x00", "(a)"])
def test_refused_takes_no_header_name_that_is_not_a_token(name: str) -> None:
    with pytest.raises(ValueError, match="header name: expected a token"):
        Refused(403, "", {name: "value"})


# Line ends for one reader or another: RFC 9110's and those of str.splitlines().
@together
@pytest.mark.parametrize(
    "control",
    ["\r", "\n", "\r\n", "\0", "\x0b", "\x0c", "\x1b", "\x1c", "\x1d", "\x1e", "\x7f", "\x85"],
)
def test_refused_takes_no_header_value_with_a_control_character(control: str) -> None:
    with pytest.raises(ValueError, match="header X-Why: expected no control characters"):
        Refused(403, "", {"X-Why": f"a{control}b"})


def test_refused_takes_no_header_value_beyond_latin_1() -> None:
    with pytest.raises(ValueError, match="header X-Why: expected Latin-1 characters, given '€'"):
        Refused(403, "", [("X-Why", "€")])


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "CONNECTION"])
def test_refused_takes_no_header_that_frames_the_response(name: str) -> None:
    with pytest.raises(ValueError, match="expected none that frames the response, given " + name):
        Refused(403, "no", {name: "0"})


@together
@pytest.mark.parametrize("headers", ["X: y", b"X", 5, ["X"], [("X",)], [("X", 1)], [(b"X", "y")]])
def test_refused_takes_no_headers_of_another_type(headers: Any) -> None:
    with pytest.raises(TypeError, match="expected"):
        Refused(403, "", headers)
