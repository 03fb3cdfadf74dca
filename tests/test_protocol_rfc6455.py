"""What the server says on the wire: RFC 6455 and the hybi drafts that share its frames."""

import array
from collections.abc import Callable
from typing import Any

import pytest
import reference
from conftest import BothEnds, StartServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference import BINARY, CLOSE, PING, TEXT, Frame
from together import together
from wire import ACCEPT, KEY, Head, Wire, build_request, connect_both, upgrade_headers, wait_until

import sockwave

# The lengths at which the header changes its form, and their neighbours.
BORDER_SIZES = [0, 1, 124, 125, 126, 127, 65534, 65535, 65536, 65537]


# ---- the opening handshake ----------------------------------------------------------------------


async def test_accept_value_is_the_one_of_the_rfc(echo_server: sockwave.Server) -> None:
    wire = await Wire.open(echo_server.addresses[0])
    wire.write(build_request(upgrade_headers()))
    head = await wire.receive_head()
    assert head.raw.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert head.headers["upgrade"].lower() == "websocket"
    assert head.headers["connection"].lower() == "upgrade"
    assert head.headers["sec-websocket-accept"] == ACCEPT == reference.accept_value(KEY)
    await wire.close()


async def test_nothing_is_negotiated_that_was_not_asked_for(echo_server: sockwave.Server) -> None:
    offers = {"Sec-WebSocket-Protocol": "chat", "Sec-WebSocket-Extensions": "x-unknown; a=1"}
    wire = await Wire.connect(echo_server.addresses[0], headers=offers)
    assert "sec-websocket-protocol" not in wire.head.headers
    assert "sec-websocket-extensions" not in wire.head.headers
    wire.send("as ever")
    assert await wire.receive_message() == "as ever"
    await wire.close()


@pytest.mark.parametrize("version", [7, 8, 13])
async def test_each_hybi_version_is_told_by_its_number(
    start_server: StartServer, version: int
) -> None:
    server = await start_server()
    wire, conn = await connect_both(server, version=version)
    assert conn.version == {7: "hybi-07", 8: "hybi-08", 13: "rfc6455"}[version]
    conn.on("message", conn.send)
    wire.send("text")
    assert await wire.receive_message() == "text"
    wire.send(b"binary")
    assert await wire.receive_message() == b"binary"
    await wire.shake_close()


async def test_unknown_version_gets_426_and_the_list(echo_server: sockwave.Server) -> None:
    wire = await Wire.open(echo_server.addresses[0])
    wire.write(build_request(upgrade_headers(version=14)))
    head = await wire.receive_head()
    assert head.status == 426
    assert head.headers["sec-websocket-version"] == "13, 8, 7"
    await wire.close()


async def test_frames_behind_the_request_are_read(start_server: StartServer) -> None:
    server = await start_server()
    server.on("connection", lambda conn: conn.on("message", conn.send))
    behind = b"".join(reference.serialize(Frame(TEXT, b"%d" % i)) for i in range(20))
    wire = await Wire.connect(server.addresses[0], behind=behind)
    assert [await wire.receive_message() for _ in range(20)] == [str(i) for i in range(20)]
    await wire.close()


async def test_half_a_frame_behind_the_request_is_kept(echo_server: sockwave.Server) -> None:
    data = reference.serialize(Frame(TEXT, b"in two halves"))
    wire = await Wire.connect(echo_server.addresses[0], behind=data[:7])
    wire.write(data[7:])
    assert await wire.receive_message() == "in two halves"
    await wire.close()


async def test_wrong_frame_behind_the_request_fails_after_the_answer(
    echo_server: sockwave.Server,
) -> None:
    wire = await Wire.connect(echo_server.addresses[0], behind=b"\x83\x80\0\0\0\0")
    await wire.expect_failure(reference.PROTOCOL_ERROR)


async def test_request_may_come_byte_by_byte(echo_server: sockwave.Server) -> None:
    wire = await Wire.open(echo_server.addresses[0])
    await wire.write_slowly(build_request(upgrade_headers()))
    assert (await wire.receive_head()).status == 101
    wire.send("there")
    assert await wire.receive_message() == "there"
    await wire.close()


async def test_what_a_connection_listener_sends_comes_behind_the_answer(
    start_server: StartServer,
) -> None:
    server = await start_server()
    server.on("connection", lambda conn: conn.send("welcome"))
    wire = await Wire.open(server.addresses[0])
    wire.write(build_request(upgrade_headers()))
    frame = reference.serialize(Frame(TEXT, b"welcome"), None)
    data = await wire.reader.readuntil(frame)
    head = Head(data.removesuffix(frame))
    assert head.status == 101
    await wire.close()


# ---- our own frames ------------------------------------------------------------------------------


@pytest.mark.parametrize("size", BORDER_SIZES)
async def test_frames_have_fin_no_mask_and_the_shortest_length(
    both_ends: BothEnds, size: int
) -> None:
    wire, conn = both_ends
    for message, opcode in (("x" * size, TEXT), (b"y" * size, BINARY)):
        conn.send(message)
        payload = message.encode() if isinstance(message, str) else message
        expected = reference.serialize(Frame(opcode, payload), None)
        assert await wire.receive(len(expected)) == expected
    await wire.close()


async def test_write_and_send_are_one_method(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    conn.write("written")
    conn.send("sent")
    assert await wire.receive(15) == b"\x81\x07written\x81\x04sent"
    await wire.close()


@pytest.mark.parametrize(
    "text",
    ["", "ascii", "é", "ÿ", "\u0100", "€" * 50, "🌊", "\0", "a\u0300", "\uffff\U0010ffff"],
    ids=ascii,
)
async def test_text_of_every_width_is_sent_as_utf8(both_ends: BothEnds, text: str) -> None:
    wire, conn = both_ends
    for repeated in (text, text * 100, text * 5000):
        conn.send(repeated)
        assert await wire.receive_message() == repeated
    await wire.close()


class Text(str):
    """A str of the application's own."""


# What may be sent, made anew for each test, and the bytes that must arrive.
BYTES_LIKE: dict[str, tuple[Callable[[], Any], bytes]] = {
    "bytes": (lambda: b"\x00\xff", b"\x00\xff"),
    "bytearray": (lambda: bytearray(b"mutable"), b"mutable"),
    "memoryview": (lambda: memoryview(b"viewed"), b"viewed"),
    "slice of a memoryview": (lambda: memoryview(b"0123456789")[2:5], b"234"),
    "strided memoryview": (lambda: memoryview(b"0123456789")[::3], b"0369"),
    "reversed memoryview": (lambda: memoryview(b"0123")[::-1], b"3210"),
    "memoryview of wide items": (
        lambda: memoryview(array.array("H", [1, 2, 3])),
        array.array("H", [1, 2, 3]).tobytes(),
    ),
    "array of doubles": (
        lambda: array.array("d", [1.5, -2.0]),
        array.array("d", [1.5, -2.0]).tobytes(),
    ),
    "empty memoryview": (lambda: memoryview(b""), b""),
}


@together
@pytest.mark.parametrize("case", BYTES_LIKE.values(), ids=list(BYTES_LIKE))
async def test_bytes_like_objects_are_sent_byte_for_byte(
    start_server: StartServer, case: tuple[Callable[[], Any], bytes]
) -> None:
    make, expected = case
    server = await start_server()
    wire, conn = await connect_both(server)
    conn.send(make())
    assert await wire.receive_message() == expected
    server.broadcast(make())
    assert await wire.receive_message() == expected
    await wire.close()


async def test_what_was_sent_does_not_change_with_its_buffer(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    for size in (10, 100_000):
        data = bytearray(b"a" * size)
        conn.send(data)
        data[:] = b"b" * size
        assert await wire.receive_message() == b"a" * size
        data.clear()  # which a buffer still held would forbid
    await wire.close()


async def test_subclass_of_str_is_text(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    conn.send(Text("tëxt"))
    assert await wire.receive_message() == "tëxt"
    await wire.close()


async def test_message_events_give_str_for_text_and_bytes_for_binary(
    start_server: StartServer,
) -> None:
    server = await start_server()
    received: list[object] = []
    wire, conn = await connect_both(server)
    conn.on("message", received.append)
    for message in ("", "plain", "wïde", "🌊", b"", b"plain"):
        wire.send(message)
    await wait_until(lambda: len(received) == 6)
    assert received == ["", "plain", "wïde", "🌊", b"", b"plain"]
    assert [type(message) for message in received] == [str] * 4 + [bytes] * 2
    await wire.close()


async def test_sends_keep_their_order_whatever_their_size(start_server: StartServer) -> None:
    server = await start_server(max_backlog=None)
    wire, conn = await connect_both(server)
    sizes = [0, 70_000, 1, 300_000, 125, 126, 65_535, 65_536, 3, 1_000_000, 5]
    for number, size in enumerate(sizes):
        conn.send(bytes([number]) * size)
    for number, size in enumerate(sizes):
        assert await wire.receive_message() == bytes([number]) * size
    await wire.close()


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    messages=st.lists(
        st.one_of(
            st.text(max_size=300),
            st.binary(max_size=300),
            st.sampled_from(BORDER_SIZES).map(lambda size: b"\xfe" * size),
            st.sampled_from(BORDER_SIZES).map(lambda size: "é" * size),
        ),
        max_size=8,
    )
)
@pytest.mark.slow
async def test_random_sends_are_the_frames_of_the_oracle(
    echo_server: sockwave.Server, messages: list[str | bytes]
) -> None:
    wire, conn = await connect_both(echo_server)
    expected = b""
    for message in messages:
        conn.send(message)
        if isinstance(message, str):
            expected += reference.serialize(Frame(TEXT, message.encode()), None)
        else:
            expected += reference.serialize(Frame(BINARY, message), None)
    conn.close(3001, "that was all")
    expected += reference.serialize(
        Frame(CLOSE, reference.close_payload(3001, "that was all")), None
    )
    assert await wire.receive(len(expected)) == expected
    wire.write_close(3001)
    await wire.receive_end()
    await wire.close()


# ---- ping and pong -------------------------------------------------------------------------------


async def test_ping_is_answered_with_its_own_payload(echo_server: sockwave.Server) -> None:
    wire = await Wire.connect(echo_server.addresses[0])
    for payload in (b"", b"x", bytes(range(125))):
        wire.write_frame(PING, payload)
        assert await wire.receive_pong() == payload
    await wire.close()


async def test_ping_gives_the_round_trip(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    waiting = conn.ping(b"are you there")
    assert await wire.receive_ping() == b"are you there"
    wire.write_frame(reference.PONG, b"are you there")
    seconds = await waiting
    assert isinstance(seconds, float)
    assert seconds >= 0
    assert conn.latency == seconds
    await wire.close()


async def test_pings_in_flight_are_told_apart(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    waiting = [conn.ping(payload) for payload in (b"one", b"two", b"three")]
    assert [await wire.receive_ping() for _ in waiting] == [b"one", b"two", b"three"]
    wire.write_frame(reference.PONG, b"one")
    assert await waiting[0] >= 0
    wire.write_frame(reference.PONG, b"three")
    # 5.5.3 lets the peer answer only the newest, so its pong answers the older ones too.
    assert await waiting[2] >= 0
    assert await waiting[1] >= 0
    await wire.close()


async def test_pings_without_data_are_told_apart(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    first, second = conn.ping(), conn.ping()
    payloads = [await wire.receive_ping(), await wire.receive_ping()]
    for payload in payloads:
        wire.write_frame(reference.PONG, payload)
    assert await first >= 0
    assert await second >= 0
    await wire.close()


async def test_unsolicited_pong_answers_nothing(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    waiting = conn.ping(b"mine")
    await wire.receive_ping()
    wire.write_frame(reference.PONG, b"not yours")
    conn.on("message", conn.send)
    wire.send("passed")
    assert await wire.receive_message() == "passed"
    assert conn.latency is None
    wire.write_frame(reference.PONG, b"mine")
    assert await waiting >= 0
    await wire.close()


async def test_ping_that_is_never_answered_ends_with_the_connection(
    both_ends: BothEnds,
) -> None:
    wire, conn = both_ends
    waiting = conn.ping(b"hello?")
    await wire.receive_ping()
    await wire.close()
    with pytest.raises(sockwave.ConnectionClosed):
        await waiting


async def test_ping_longer_than_a_control_frame_is_refused(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    with pytest.raises(ValueError, match="125"):
        conn.ping(b"x" * 126)
    conn.send("next")
    assert await wire.receive_message() == "next"
    await wire.close()
