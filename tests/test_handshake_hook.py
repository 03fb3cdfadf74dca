"""What a hook may do to a handshake, without a server."""

from typing import Any

import pytest
from opening import parse
from together import together
from wire import Headers, upgrade_headers

from sockwave.errors import Refused
from sockwave.handshake import Handshake


class Holder:
    """Stands where the connection stands: what a hook may do with one is tested on the wire."""

    def __init__(self) -> None:
        self.data: dict[str, object] = {}


def make(headers: Headers = (), subprotocol: str | None = None) -> Handshake:
    """Give the handshake of an ordinary request with some more headers."""
    connection: Any = Holder()
    pairs = headers.items() if isinstance(headers, dict) else headers
    head = parse([*upgrade_headers().items(), *pairs])
    return Handshake(head, connection, "rfc6455", subprotocol)


def test_it_shows_the_request_and_the_version() -> None:
    handshake = make({"Cookie": "session=1"})
    assert handshake.request.headers["cookie"] == "session=1"
    assert handshake.version == "rfc6455"
    assert handshake.subprotocol is None
    assert handshake.headers == ()


def test_headers_are_added_in_order() -> None:
    handshake = make()
    handshake.add_header("Set-Cookie", "a=1")
    handshake.add_header("Set-Cookie", "b=2")
    assert handshake.headers == (("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"))


@together
@pytest.mark.parametrize(
    "name",
    [
        "Connection",
        "UPGRADE",
        "Content-Length",
        "Transfer-Encoding",
        "Keep-Alive",
        "TE",
        "Trailer",
        "Sec-WebSocket-Accept",
        "sec-websocket-extensions",
        "Sec-WebSocket-Protocol",
        "Sec-WebSocket-Location",
        "WebSocket-Origin",
    ],
)
def test_a_header_of_the_handshake_itself_cannot_be_added(name: str) -> None:
    handshake = make()
    with pytest.raises(ValueError, match=f"header {name}: expected none that belongs to the"):
        handshake.add_header(name, "x")
    assert handshake.headers == ()


@together
@pytest.mark.parametrize(
    "control", ["\r", "\n", "\0", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x7f", "\x85"]
)
def test_a_header_that_would_break_the_line_cannot_be_added(control: str) -> None:
    handshake = make()
    with pytest.raises(ValueError, match="header X-A: expected no control characters"):
        handshake.add_header("X-A", f"a{control}b")
    with pytest.raises(ValueError, match="header name: expected a token"):
        handshake.add_header(f"X-A{control}", "a")
    assert handshake.headers == ()


def test_a_header_of_another_type_cannot_be_added() -> None:
    number: Any = 5
    with pytest.raises(TypeError, match="header X-A: expected a str value, given int"):
        make().add_header("X-A", number)
    with pytest.raises(TypeError, match="header name: expected str, given int"):
        make().add_header(number, "a")


def test_the_subprotocol_can_be_set_to_one_that_was_offered() -> None:
    handshake = make({"Sec-WebSocket-Protocol": "a, b"}, "a")
    assert handshake.subprotocol == "a"
    handshake.subprotocol = "b"
    assert handshake.subprotocol == "b"
    handshake.subprotocol = None
    assert handshake.subprotocol is None


def test_the_subprotocol_cannot_be_set_to_another() -> None:
    handshake = make({"Sec-WebSocket-Protocol": "a, b"}, "a")
    other: Any = 5
    with pytest.raises(ValueError, match=r"expected one of those offered \['a', 'b'\], given 'c'"):
        handshake.subprotocol = "c"
    with pytest.raises(TypeError, match="subprotocol: expected str or None, given int"):
        handshake.subprotocol = other
    assert handshake.subprotocol == "a"


def test_refuse_raises_what_will_be_answered() -> None:
    with pytest.raises(Refused) as caught:
        make().refuse(401, "who are you?", {"WWW-Authenticate": "Basic"})
    assert (caught.value.status, caught.value.body) == (401, b"who are you?")
    assert caught.value.headers == (("WWW-Authenticate", "Basic"),)
    with pytest.raises(Refused) as caught:
        make().refuse()
    assert caught.value.status == 403


def test_refuse_checks_what_it_is_given() -> None:
    with pytest.raises(ValueError, match="status: expected 300 to 599, given 200"):
        make().refuse(200)
    with pytest.raises(ValueError, match="header X-A: expected no control characters"):
        make().refuse(403, "", {"X-A": "a\r\nb"})
