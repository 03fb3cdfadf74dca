"""Drafts 75 and 76 on the wire, byte for byte (draft-hixie-thewebsocketprotocol-75 and -76)."""

import asyncio
import contextlib

import pytest
import reference
from conftest import StartServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference import serialize_hixie
from together import together
from wire import KEY1, KEY2, KEY3, Wire, build_request, hixie_headers, wait_until

import sockwave

DRAFTS = pytest.mark.parametrize("draft", [75, 76])

CLOSING = b"\xff\x00"


async def connect_both(server: sockwave.Server, draft: int) -> tuple[Wire, sockwave.Connection]:
    """Connect a client of a draft, and give both ends."""
    accepted: list[sockwave.Connection] = []
    server.once("connection", accepted.append)
    wire = await Wire.connect_hixie(server.addresses[0], draft)
    await wait_until(lambda: accepted, "the connection event")
    return wire, accepted[0]


async def receive_text(wire: Wire) -> str:
    """Read one frame of text."""
    assert await wire.receive(1) == b"\x00"
    async with asyncio.timeout(10):
        return (await wire.reader.readuntil(b"\xff"))[:-1].decode()


async def expect_dropped(wire: Wire, draft: int) -> None:
    """Check that the server ends the connection, and says nothing but what the draft allows."""
    with contextlib.suppress(ConnectionError):
        rest = await wire.receive_rest()
        assert rest in ((b"", CLOSING) if draft == 76 else (b"",))
    await wire.close()


# ---- handshakes ----------------------------------------------------------------------------------


async def test_draft_75_handshake_byte_for_byte(start_server: StartServer) -> None:
    server = await start_server()
    wire = await Wire.open(server.addresses[0])
    wire.write(
        b"GET /chat?room=1 HTTP/1.1\r\n"
        b"Upgrade: WebSocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Host: example.com:8000\r\n"
        b"Origin: http://example.com\r\n"
        b"\r\n"
    )
    expected = (
        b"HTTP/1.1 101 Web Socket Protocol Handshake\r\n"
        b"Upgrade: WebSocket\r\n"
        b"Connection: Upgrade\r\n"
        b"WebSocket-Origin: http://example.com\r\n"
        b"WebSocket-Location: ws://example.com:8000/chat?room=1\r\n"
        b"\r\n"
    )
    assert await wire.receive(len(expected)) == expected
    await wire.receive_nothing()
    await wire.close()


async def test_draft_76_handshake_byte_for_byte(start_server: StartServer) -> None:
    server = await start_server()
    wire = await Wire.open(server.addresses[0])
    wire.write(
        b"GET /demo HTTP/1.1\r\n"
        b"Host: example.com\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Key2: 12998 5 Y3 1  .P00\r\n"
        b"Upgrade: WebSocket\r\n"
        b"Sec-WebSocket-Key1: 4 @1  46546xW%0l 1 5\r\n"
        b"Origin: http://example.com\r\n"
        b"\r\n"
        b"^n:ds[4U"
    )
    expected = (
        b"HTTP/1.1 101 WebSocket Protocol Handshake\r\n"
        b"Upgrade: WebSocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Origin: http://example.com\r\n"
        b"Sec-WebSocket-Location: ws://example.com/demo\r\n"
        b"\r\n"
        b"8jKS'y:G*Co,Wxa-"
    )
    assert await wire.receive(len(expected)) == expected
    await wire.receive_nothing()
    await wire.close()


@DRAFTS
async def test_chosen_subprotocol_is_named_to_the_drafts(
    start_server: StartServer, draft: int
) -> None:
    server = await start_server(subprotocol=["chat"])
    wire = await Wire.open(server.addresses[0])
    name = "WebSocket-Protocol" if draft == 75 else "Sec-WebSocket-Protocol"
    wire.write(build_request(hixie_headers(draft) | {name: "chat"}))
    if draft == 76:
        wire.write(KEY3)
    head = await wire.receive_head()
    assert head.status == 101
    assert head.headers[name.lower()] == "chat"
    await wire.close()


async def test_draft_76_waits_for_its_eight_bytes(start_server: StartServer) -> None:
    server = await start_server()
    states: list[int] = []
    server.on("readyStateChange", lambda conn, state: states.append(int(state)))
    connections: list[sockwave.Connection] = []
    server.on("connection", connections.append)
    wire = await Wire.open(server.addresses[0])
    wire.write(build_request(hixie_headers(76)))
    for octet in KEY3:
        await wire.receive_nothing()
        assert not connections
        wire.write(bytes([octet]))
    assert (await wire.receive_head()).status == 101
    assert await wire.receive(16) == reference.answer_76(KEY1, KEY2, KEY3)
    await wait_until(lambda: connections)
    assert connections[0].version == "draft76"
    assert states == [
        sockwave.ReadyState.OPENING,
        sockwave.ReadyState.WAITING,
        sockwave.ReadyState.HANDSHAKING,
        sockwave.ReadyState.CONNECTED,
    ]
    await wire.close()


@together
@pytest.mark.parametrize(
    "key3",
    [b"\r\n\r\n\r\n\r\n", b"\0" * 8, b"\xff" * 8, b"\xff\x00\xff\x00\x00\xff\x00\xff", b"GET / HT"],
    ids=repr,
)
async def test_eight_bytes_may_be_any_and_exactly_eight_are_taken(
    start_server: StartServer, key3: bytes
) -> None:
    server = await start_server()
    server.on("connection", lambda conn: conn.on("message", conn.send))
    wire = await Wire.open(server.addresses[0])
    wire.write(build_request(hixie_headers(76)) + key3 + serialize_hixie("first"))
    assert (await wire.receive_head()).status == 101
    assert await wire.receive(16) == reference.answer_76(KEY1, KEY2, key3)
    assert await receive_text(wire) == "first"
    await wire.close()


async def test_draft_76_client_that_stalls_is_dropped(start_server: StartServer) -> None:
    server = await start_server(handshake_timeout=0.3)
    connections: list[sockwave.Connection] = []
    server.on("connection", connections.append)
    wire = await Wire.open(server.addresses[0])
    wire.write(build_request(hixie_headers(76)) + KEY3[:7])
    rest = await wire.receive_rest()
    assert b"101" not in rest
    assert not connections
    await wire.close()


@DRAFTS
async def test_frames_behind_the_request_are_read(start_server: StartServer, draft: int) -> None:
    server = await start_server()
    server.on("connection", lambda conn: conn.on("message", conn.send))
    behind = b"".join(serialize_hixie(f"early {i}") for i in range(3))
    wire = await Wire.connect_hixie(server.addresses[0], draft, behind=behind)
    assert [await receive_text(wire) for _ in range(3)] == ["early 0", "early 1", "early 2"]
    await wire.close()


# ---- frames --------------------------------------------------------------------------------------


@DRAFTS
async def test_text_is_framed_by_00_and_ff(start_server: StartServer, draft: int) -> None:
    server = await start_server()
    wire, conn = await connect_both(server, draft)
    assert conn.version == f"draft{draft}"
    for text in ("", "Hello", "κόσμε 🌊", "\0 inside", "x" * 126, "y" * 70_000):
        conn.send(text)
        expected = b"\x00" + text.encode() + b"\xff"
        assert await wire.receive(len(expected)) == expected
    await wire.close()


@together
@DRAFTS
@pytest.mark.parametrize("slow", [False, True], ids=["whole", "byte by byte"])
async def test_frames_become_messages(start_server: StartServer, draft: int, slow: bool) -> None:
    server = await start_server()
    received: list[object] = []
    wire, conn = await connect_both(server, draft)
    conn.on("message", received.append)
    texts = ["", "Hello", "κόσμε 🌊", "\0 inside", "x" * 126]
    data = b"".join(map(serialize_hixie, texts))
    await (wire.write_slowly(data) if slow else wire.write_pieces(data, []))
    await wait_until(lambda: len(received) == len(texts))
    assert received == texts
    await wire.close()


@together
@DRAFTS
@pytest.mark.parametrize("first", [0x80, 0x81, 0xFE, 0xFF])
async def test_frames_with_a_length_are_skipped(
    start_server: StartServer, draft: int, first: int
) -> None:
    server = await start_server()
    received: list[object] = []
    wire, conn = await connect_both(server, draft)
    conn.on("message", received.append)
    long = bytes([first, 0x82, 0x2C]) + b"\x00fake\xff" * 50  # 2 * 128 + 44 = 300 bytes
    short = bytes([first, 0x03]) + b"\x00\xff\x00"
    padded = bytes([first, 0x80, 0x80, 0x80, 0x01]) + b"!"
    wire.write(long + serialize_hixie("a") + short + serialize_hixie("b") + padded)
    await wire.write_slowly(short + serialize_hixie("c"))
    await wait_until(lambda: len(received) == 3)
    assert received == ["a", "b", "c"]
    await wire.close()


@together
@DRAFTS
@pytest.mark.parametrize("first", [0x01, 0x42, 0x7F])
async def test_frames_of_other_types_are_read_up_to_ff_and_discarded(
    start_server: StartServer, draft: int, first: int
) -> None:
    server = await start_server(max_size=1000)
    received: list[object] = []
    wire, conn = await connect_both(server, draft)
    conn.on("message", received.append)
    frame = bytes([first]) + b"not UTF-8: \xc3\x28 \x00 " + b"x" * 900 + b"\xff"
    wire.write(frame + serialize_hixie("a") + frame)
    await wire.write_slowly(frame[:30])
    wire.write(frame[30:] + serialize_hixie("b"))
    await wait_until(lambda: len(received) == 2)
    assert received == ["a", "b"]
    await wire.close()


@together
@DRAFTS
@pytest.mark.parametrize("slow", [False, True], ids=["whole", "in pieces"])
async def test_discarded_frame_may_be_longer_than_a_message(
    start_server: StartServer, draft: int, slow: bool
) -> None:
    server = await start_server(max_size=1000)
    wire, conn = await connect_both(server, draft)
    conn.on("message", conn.send)
    data = b"\x01" + b"x" * 3000 + b"\xff" + serialize_hixie("after")
    await wire.write_pieces(data, range(0, 3000, 500) if slow else [])
    assert await receive_text(wire) == "after"
    await wire.close()


@DRAFTS
async def test_endless_length_is_given_up_after_five_bytes(
    start_server: StartServer, draft: int
) -> None:
    server = await start_server()
    wire, conn = await connect_both(server, draft)
    wire.write(b"\x80" + b"\x80" * 4)
    await wire.receive_nothing()
    assert conn.ready_state == sockwave.ReadyState.CONNECTED
    wire.write(b"\x80")
    await expect_dropped(wire, draft)
    await wait_until(lambda: not server.connections)


@together
@DRAFTS
@pytest.mark.parametrize("length", [b"\x87\x69", b"\xff\xff\xff\xff\x7f", b"\xff\x7f"], ids=repr)
async def test_length_over_the_limit_is_refused_at_the_header(
    start_server: StartServer, draft: int, length: bytes
) -> None:
    server = await start_server(max_size=1000)
    wire, _ = await connect_both(server, draft)
    wire.write(b"\x80" + length)
    await expect_dropped(wire, draft)
    await wait_until(lambda: not server.connections)


@DRAFTS
async def test_length_at_the_limit_is_skipped(start_server: StartServer, draft: int) -> None:
    server = await start_server(max_size=1000)
    wire, conn = await connect_both(server, draft)
    conn.on("message", conn.send)
    wire.write(b"\x80\x87\x68" + b"s" * 1000 + serialize_hixie("after"))
    assert await receive_text(wire) == "after"
    await wire.close()


@DRAFTS
async def test_text_at_the_limit_passes_and_one_byte_more_does_not(
    start_server: StartServer, draft: int
) -> None:
    server = await start_server(max_size=1000)
    wire, conn = await connect_both(server, draft)
    conn.on("message", conn.send)
    wire.write(serialize_hixie("x" * 1000))
    assert await receive_text(wire) == "x" * 1000
    wire.write(serialize_hixie("y" * 1001))
    await expect_dropped(wire, draft)
    await wait_until(lambda: not server.connections)


@DRAFTS
async def test_text_without_an_end_is_cut_off_at_the_limit(
    start_server: StartServer, draft: int
) -> None:
    server = await start_server(max_size=1000)
    wire, _ = await connect_both(server, draft)
    wire.write(b"\x00" + b"x" * 1000)
    await wire.receive_nothing()
    wire.write(b"x")
    await expect_dropped(wire, draft)
    await wait_until(lambda: not server.connections)


@together
@DRAFTS
@pytest.mark.parametrize("bad", [b"\xc3\x28", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"])
async def test_text_that_is_not_utf8_ends_the_connection(
    start_server: StartServer, draft: int, bad: bytes
) -> None:
    server = await start_server()
    received: list[object] = []
    wire, conn = await connect_both(server, draft)
    conn.on("message", received.append)
    wire.write(serialize_hixie("good") + serialize_hixie(b"bad " + bad) + serialize_hixie("late"))
    await expect_dropped(wire, draft)
    await wait_until(lambda: not server.connections)
    assert received == ["good"]


@DRAFTS
async def test_frames_of_rfc_6455_are_never_read_as_such(
    start_server: StartServer, draft: int
) -> None:
    server = await start_server()
    received: list[object] = []
    wire, conn = await connect_both(server, draft)
    conn.on("message", received.append)
    # As a draft's frame: type 81, length 5 in its second group, five bytes that are skipped.
    wire.write(b"\x81\x80\x05Hello" + serialize_hixie("text"))
    await wait_until(lambda: received)
    assert received == ["text"]
    await wire.close()


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    draft=st.sampled_from([75, 76]),
    pieces=st.lists(
        st.one_of(
            st.text(max_size=50).map(serialize_hixie),
            st.binary(max_size=100).map(lambda data: bytes([0x80, len(data)]) + data),
            st.binary(max_size=60).map(lambda data: b"\x00" + data + b"\xff"),
            st.binary(max_size=60).map(lambda data: b"\x42" + data + b"\xff"),
        ),
        max_size=6,
    ),
    cuts=st.lists(st.integers(0, 400), max_size=6),
)
@pytest.mark.slow
async def test_random_streams_are_read_as_the_oracle_reads_them(
    echo_server: sockwave.Server, draft: int, pieces: list[bytes], cuts: list[int]
) -> None:
    received: list[object] = []
    echo_server.once("connection", lambda conn: conn.on("message", received.append))
    data = b"".join(pieces) + serialize_hixie("the end")
    outcome = reference.decode_hixie(data, draft=draft)
    wire = await Wire.connect_hixie(echo_server.addresses[0], draft)
    await wire.write_pieces(data, cuts)
    ends = outcome.failure is not None or any(event[0] == "close" for event in outcome.events)
    await wait_until(lambda: len(received) >= len(outcome.messages), "the messages")
    if ends:
        with contextlib.suppress(ConnectionError):
            await wire.receive_rest()
    assert received == outcome.messages
    await wire.close()
    await wait_until(lambda: not echo_server.connections)


# ---- the end -------------------------------------------------------------------------------------


async def test_draft_76_client_closes_with_ff_00(start_server: StartServer) -> None:
    server = await start_server()
    ends: list[tuple[int, str]] = []
    wire, conn = await connect_both(server, 76)
    conn.on("close", lambda code, reason: ends.append((code, reason)))
    wire.write(serialize_hixie("last") + CLOSING)
    assert await wire.receive_rest() == CLOSING
    await wire.close()
    await wait_until(lambda: ends)
    assert len(ends) == 1
    assert conn.ready_state == sockwave.ReadyState.CLOSED


async def test_draft_76_closing_may_come_byte_by_byte_and_nothing_counts_behind_it(
    start_server: StartServer,
) -> None:
    server = await start_server()
    received: list[object] = []
    wire, conn = await connect_both(server, 76)
    conn.on("message", received.append)
    await wire.write_slowly(CLOSING + serialize_hixie("late"))
    assert await wire.receive_rest() == CLOSING
    await wire.close()
    assert received == []


async def test_draft_76_server_closes_with_ff_00_and_then_fin(start_server: StartServer) -> None:
    server = await start_server()
    wire, conn = await connect_both(server, 76)
    conn.send("bye")
    conn.close(1000, "of which the draft has no notion")
    expected = serialize_hixie("bye") + CLOSING
    assert await wire.receive(len(expected)) == expected
    wire.write(CLOSING)
    await wire.receive_end()
    await wire.close()
    await wait_until(lambda: not server.connections)


async def test_draft_75_ends_with_the_tcp_stream(start_server: StartServer) -> None:
    server = await start_server()
    ends: list[int] = []
    wire, conn = await connect_both(server, 75)
    conn.on("close", ends.append)
    conn.send("bye")
    conn.close()
    assert await wire.receive_rest() == serialize_hixie("bye")
    await wire.close()
    await wait_until(lambda: ends)
    assert conn.ready_state == sockwave.ReadyState.CLOSED


async def test_draft_75_client_ends_with_the_tcp_stream(start_server: StartServer) -> None:
    server = await start_server()
    ends: list[int] = []
    wire, conn = await connect_both(server, 75)
    conn.on("close", ends.append)
    await wire.close()
    await wait_until(lambda: ends)
    assert conn.ready_state == sockwave.ReadyState.CLOSED
    assert not server.connections


# ---- what the drafts cannot do -------------------------------------------------------------------


@together
@DRAFTS
@pytest.mark.parametrize(
    "data",
    [b"", b"bytes", bytearray(b"a"), memoryview(b"b")],
    ids=["nothing", "bytes", "bytearray", "memoryview"],
)
async def test_bytes_cannot_be_sent_to_a_draft(
    start_server: StartServer, draft: int, data: bytes
) -> None:
    server = await start_server()
    wire, conn = await connect_both(server, draft)
    with pytest.raises(TypeError, match="str"):
        conn.send(data)
    conn.send("only this")
    expected = serialize_hixie("only this")
    assert await wire.receive(len(expected)) == expected
    await wire.close()


@DRAFTS
async def test_wrong_messages_to_a_draft_raise_and_send_nothing(
    start_server: StartServer, draft: int
) -> None:
    server = await start_server()
    wire, conn = await connect_both(server, draft)
    with pytest.raises(TypeError, match="float"):
        conn.send(1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="surrogate"):
        conn.send("\ud800")
    conn.send("right")
    assert await wire.receive(7) == serialize_hixie("right")
    await wire.close()


async def test_broadcast_of_bytes_skips_the_drafts(start_server: StartServer) -> None:
    server = await start_server()
    old75, _ = await connect_both(server, 75)
    old76, _ = await connect_both(server, 76)
    modern = await Wire.connect(server.addresses[0])
    await wait_until(lambda: len(server.connections) == 3)
    assert server.broadcast(b"bytes") == 1
    assert server.broadcast("text") == 3
    assert await modern.receive_message() == b"bytes"
    assert await modern.receive_message() == "text"
    for old in (old75, old76):
        assert await old.receive(6) == serialize_hixie("text")
        await old.close()
    await modern.close()


@DRAFTS
async def test_draft_has_no_ping(start_server: StartServer, draft: int) -> None:
    server = await start_server()
    wire, conn = await connect_both(server, draft)
    with pytest.raises(TypeError, match="ping"):
        conn.ping()
    conn.send("nothing was sent")
    expected = serialize_hixie("nothing was sent")
    assert await wire.receive(len(expected)) == expected
    await wire.close()
