"""What the application does wrong raises in the caller, and sends nothing."""

from typing import Any

import pytest
from conftest import BothEnds, StartServer
from together import together
from wire import (
    Wire,
    build_request,
)

import sockwave


@pytest.mark.parametrize(
    "wrong",
    [1.5, 5, None, True, ["list"], {"a": 1}, object()],
    ids=lambda wrong: type(wrong).__name__,
)
async def test_sending_a_wrong_type_raises_and_sends_nothing(
    both_ends: BothEnds, wrong: Any
) -> None:
    wire, conn = both_ends
    for call in (conn.send, conn.write, conn.broadcast):
        with pytest.raises(TypeError, match=type(wrong).__name__):
            call(wrong)
    conn.send("right")
    assert await wire.receive_message() == "right"
    await wire.close()


@pytest.mark.parametrize(
    "text", ["\ud800", "a\udfffb", "🌊\udc80", "x" * 70_000 + "\ud83d"], ids=len
)
async def test_sending_a_lone_surrogate_raises_and_sends_nothing(
    both_ends: BothEnds, text: str
) -> None:
    wire, conn = both_ends
    with pytest.raises(ValueError, match="surrogate"):
        conn.send(text)
    conn.send("right")
    assert await wire.receive_message() == "right"
    await wire.close()


async def test_unknown_option_raises_with_the_nearest_name() -> None:
    with pytest.raises(TypeError, match=r"'orign'.*'origin'"):
        sockwave.create_server(orign="*")
    with pytest.raises(TypeError, match="max_size"):
        sockwave.create_server(maxsize=5)


@together
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"max_size": "large"}, TypeError),
        ({"max_size": -1}, ValueError),
        ({"max_size": 1.5}, TypeError),
        ({"close_timeout": -1}, ValueError),
        ({"close_timeout": "10"}, TypeError),
        ({"engine": "kqueue"}, ValueError),
        ({"version": "hybi-03"}, ValueError),
        ({"version": 13}, TypeError),
        ({"origin": 5}, TypeError),
        ({"subprotocol": "not a token"}, ValueError),
        ({"queue_count": 0}, ValueError),
    ],
    ids=repr,
)
async def test_wrong_option_raises_and_names_itself(
    options: dict[str, object], expected: type[Exception]
) -> None:
    with pytest.raises(expected, match=next(iter(options))):
        sockwave.create_server(**options)


async def test_header_with_a_line_break_raises_and_sends_nothing(
    start_server: StartServer,
) -> None:
    server = await start_server()
    raised: list[Exception] = []

    @server.on("request")
    def request(req: Any, res: Any) -> None:
        for name, value in (("X-Split", "a\r\nb: c"), ("X\r\nY", "z"), ("X-Nul", "\0")):
            with pytest.raises(ValueError) as error:  # noqa: PT011 - the message is the reader's
                res.write_head(200, {name: value})
            raised.append(error.value)
        res.end("fine")

    wire = await Wire.open(server.addresses[0])
    wire.write(build_request({"Host": "x", "Connection": "close"}))
    head = await wire.receive_head()
    assert head.status == 200
    assert "b" not in head.headers
    assert await wire.receive_rest() == b"fine"
    assert len(raised) == 3
    await wire.close()


async def test_errors_are_all_of_one_family() -> None:
    for error in (sockwave.ConnectionClosed, sockwave.Refused):
        assert issubclass(error, sockwave.SockwaveError)
    assert issubclass(sockwave.SockwaveError, Exception)
    assert not issubclass(sockwave.SockwaveError, OSError | ValueError)
