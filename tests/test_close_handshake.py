"""The closing handshake: who says what, who hangs up first, and what is too late (RFC 6455, 7)."""

import asyncio
import contextlib
import time

import pytest
import reference
from conftest import BothEnds, StartServer
from reference import BINARY, CLOSE, CONTINUATION, PING, TEXT, Frame
from together import together
from wire import Wire, connect_both, let_arrive, wait_until

import sockwave

SENDABLE_CODES = [
    *(1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014),
    *(3000, 3999, 4000, 4999),
]
UNSENDABLE_CODES = [-1, 0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65536, 66536]


class Ends(list[tuple[int, str]]):
    """What the close listeners of a server's connections were told."""

    def __init__(self, server: sockwave.Server) -> None:
        super().__init__()
        server.on("connection", self.watch)

    def watch(self, conn: sockwave.Connection) -> None:
        conn.on("close", lambda code, reason: self.append((code, reason)))


# ---- the client closes ---------------------------------------------------------------------------


@together
@pytest.mark.parametrize("code", SENDABLE_CODES)
async def test_code_of_the_client_is_echoed_and_told(start_server: StartServer, code: int) -> None:
    server = await start_server()
    ends = Ends(server)
    wire, conn = await connect_both(server)
    wire.write_close(code, "because")
    assert (await wire.receive_close())[0] == code
    await wire.receive_end()
    await wait_until(lambda: ends)
    assert ends == [(code, "because")]
    assert (conn.close_code, conn.close_reason) == (code, "because")
    await wire.close()


async def test_close_without_a_code_is_answered_without_one(start_server: StartServer) -> None:
    server = await start_server()
    ends = Ends(server)
    wire, conn = await connect_both(server)
    wire.write_close(None)
    assert await wire.receive_frame() == Frame(CLOSE, b"")
    await wire.receive_end()
    await wait_until(lambda: ends)
    assert ends == [(reference.NO_STATUS, "")]
    assert conn.close_code == reference.NO_STATUS
    await wire.close()


async def test_server_drops_tcp_first_when_the_client_has_closed(
    start_server: StartServer,
) -> None:
    # 7.1.1: "Therefore, in normal cases, the server should close the TCP connection first".
    server = await start_server()
    wire, _ = await connect_both(server)
    wire.write_close(1000)
    assert (await wire.receive_close())[0] == 1000
    # The client has not sent FIN, and reads the server's.
    assert await wire.receive_rest() == b""
    await wait_until(lambda: not server.connections)
    await wire.close()


async def test_server_drops_tcp_first_when_it_has_closed_itself(start_server: StartServer) -> None:
    server = await start_server()
    wire, conn = await connect_both(server)
    conn.close(1000)
    assert (await wire.receive_close())[0] == 1000
    # Before the client has answered, the server waits.
    await wire.receive_nothing()
    wire.write_close(1000)
    assert await wire.receive_rest() == b""
    await wire.close()


async def test_what_was_sent_before_the_close_arrives_before_it(start_server: StartServer) -> None:
    server = await start_server(max_backlog=None)
    wire, conn = await connect_both(server)
    for size in (5, 3_000_000, 7):
        conn.send(b"x" * size)
    conn.close(1000, "done")
    for size in (5, 3_000_000, 7):
        assert len(await wire.receive_message()) == size
    assert await wire.receive_close() == (1000, "done")
    wire.write_close(1000)
    await wire.receive_end()
    await wire.close()


async def test_message_of_which_half_is_here_is_dropped_by_a_close(
    start_server: StartServer,
) -> None:
    server = await start_server()
    received: list[object] = []
    wire, conn = await connect_both(server)
    conn.on("message", received.append)
    wire.write_frame(TEXT, "half a", fin=False)
    wire.write_close(1000)
    wire.write_frame(CONTINUATION, " message")
    assert (await wire.receive_close())[0] == 1000
    await wire.receive_end()
    await wire.close()
    assert received == []


async def test_echo_arrives_before_the_answer_to_a_close_in_the_same_segment(
    echo_server: sockwave.Server,
) -> None:
    wire = await Wire.connect(echo_server.addresses[0])
    messages = b"".join(reference.serialize(Frame(TEXT, b"%d" % i)) for i in range(10))
    wire.write(messages + reference.serialize(Frame(CLOSE, b"\x03\xe8")))
    frames = await wire.receive_frames_until_close()
    assert [frame.payload for frame in frames[:-1]] == [b"%d" % i for i in range(10)]
    await wire.receive_end()
    await wire.close()


async def test_client_that_vanishes_is_1006(start_server: StartServer) -> None:
    server = await start_server()
    ends = Ends(server)
    for vanish in ("fin", "reset"):
        wire, conn = await connect_both(server)
        if vanish == "fin":
            await wire.close()
        else:
            wire.reset()
        await wait_until(lambda: ends)
        assert ends[0][0] == reference.ABNORMAL
        assert conn.close_code == reference.ABNORMAL
        assert conn.ready_state == sockwave.ReadyState.CLOSED
        ends.clear()
    assert not server.connections


async def test_client_that_half_closes_is_gone(start_server: StartServer) -> None:
    server = await start_server()
    ends = Ends(server)
    wire, _ = await connect_both(server)
    wire.write_eof()
    await wire.receive_rest()
    await wait_until(lambda: ends)
    assert ends[0][0] == reference.ABNORMAL
    await wire.close()


# ---- the server closes ---------------------------------------------------------------------------


@together
@pytest.mark.parametrize("code", SENDABLE_CODES)
async def test_server_may_close_with_every_sendable_code(
    start_server: StartServer, code: int
) -> None:
    server = await start_server()
    ends = Ends(server)
    wire, conn = await connect_both(server)
    conn.close(code, "grund: größe")
    assert await wire.receive_close() == (code, "grund: größe")
    wire.write_close(code)
    await wire.receive_end()
    await wait_until(lambda: ends)
    assert len(ends) == 1
    assert ends[0][0] == conn.close_code == code
    await wire.close()


@pytest.mark.parametrize("code", UNSENDABLE_CODES)
async def test_code_that_must_not_be_sent_raises_and_sends_nothing(
    both_ends: BothEnds, code: int
) -> None:
    wire, conn = both_ends
    with pytest.raises(ValueError, match=str(code)):
        conn.close(code)
    conn.send("still open")
    assert await wire.receive_message() == "still open"
    await wire.close()


async def test_wrong_close_arguments_raise_and_send_nothing(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    for code in ("1000", 1000.0, None, True):
        with pytest.raises(TypeError):
            conn.close(code)  # type: ignore[arg-type]
    for reason in (b"bytes", 5, None):
        with pytest.raises(TypeError):
            conn.close(1000, reason)  # type: ignore[arg-type]
    for text in ("x" * 124, "é" * 62, "\ud800", "line\r\nbreak", "nul\0"):
        with pytest.raises(ValueError, match="reason"):
            conn.close(1000, text)
    conn.send("still open")
    assert await wire.receive_message() == "still open"
    conn.close(1000, "é" * 61 + "x")
    assert await wire.receive_close() == (1000, "é" * 61 + "x")
    await wire.close()


async def test_close_is_idempotent(start_server: StartServer) -> None:
    server = await start_server()
    ends = Ends(server)
    wire, conn = await connect_both(server)
    conn.close(1000, "first")
    conn.close(1001, "second")
    conn.close()
    assert await wire.receive_close() == (1000, "first")
    await wire.receive_nothing()
    wire.write_close(1000)
    await wire.receive_end()
    conn.close()
    await wait_until(lambda: ends)
    conn.close()
    conn.abort()
    await wire.close()
    assert len(ends) == 1


async def test_send_after_close_raises_connection_closed(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    conn.close(1000)
    for send in (conn.send, conn.write):
        with pytest.raises(sockwave.ConnectionClosed):
            send("too late")
    assert (await wire.receive_close())[0] == 1000
    await wire.receive_nothing()
    wire.write_close(1000)
    await wire.receive_end()
    await wait_until(lambda: conn.ready_state == sockwave.ReadyState.CLOSED)
    with pytest.raises(sockwave.ConnectionClosed) as raised:
        conn.send("much too late")
    assert raised.value.code == 1000
    await wire.close()


async def test_messages_after_our_close_are_dropped_until_the_clients(
    start_server: StartServer,
) -> None:
    server = await start_server()
    received: list[object] = []
    wire, conn = await connect_both(server)
    conn.on("message", received.append)
    conn.close(1000)
    assert (await wire.receive_close())[0] == 1000
    wire.send("crossed on the way")
    wire.write_frame(PING, b"alive?")
    wire.write_frame(BINARY, b"x" * 200_000)
    wire.write_close(1000)
    await wire.receive_end()
    await wait_until(lambda: not server.connections)
    assert received == []
    await wire.close()


async def test_closes_that_cross_each_other_end_cleanly(start_server: StartServer) -> None:
    server = await start_server()
    ends = Ends(server)
    wire, conn = await connect_both(server)
    wire.write_close(3001, "client's")
    conn.close(3002, "server's")
    assert (await wire.receive_close())[0] == 3002
    await wire.receive_end()
    await wait_until(lambda: ends)
    assert len(ends) == 1
    await wire.close()


async def test_client_that_never_answers_a_close_is_dropped_in_time(
    start_server: StartServer,
) -> None:
    server = await start_server(close_timeout=0.4)
    ends = Ends(server)
    wire, conn = await connect_both(server)
    conn.close(1000)
    assert (await wire.receive_close())[0] == 1000
    await wire.receive_end()
    await wait_until(lambda: ends)
    assert len(ends) == 1
    assert not server.connections
    await wire.close()


async def test_client_that_talks_on_after_our_close_is_dropped_in_time(
    start_server: StartServer,
) -> None:
    server = await start_server(close_timeout=0.4)
    wire, conn = await connect_both(server)
    conn.close(1000)
    assert (await wire.receive_close())[0] == 1000

    async def chatter() -> None:
        while True:
            wire.send("and another thing")
            with contextlib.suppress(ConnectionError):
                await wire.drain()
            await asyncio.sleep(0.02)

    chattering = asyncio.create_task(chatter())
    await wait_until(lambda: not server.connections)
    chattering.cancel()
    await wire.close()


async def test_close_is_answered_though_the_application_reads_no_more(
    start_server: StartServer,
) -> None:
    server = await start_server(queue_count=4, close_timeout=60.0)
    wire, conn = await connect_both(server)
    receiving = asyncio.ensure_future(conn.receive())
    await asyncio.sleep(0)
    for i in range(100):
        wire.send(f"{i}")
    assert await receiving == "0"
    await let_arrive()  # the queue is full, and nothing is read
    conn.close(1000)
    assert (await wire.receive_close())[0] == 1000
    wire.write_close(1000)
    await wire.receive_end()
    await wait_until(lambda: not server.connections)
    await wire.close()


async def test_client_that_answers_but_keeps_the_socket_is_dropped_in_time(
    start_server: StartServer,
) -> None:
    server = await start_server(close_timeout=0.4)
    wire, conn = await connect_both(server)
    conn.close(1000)
    await wire.receive_close()
    wire.write_close(1000)
    assert await wire.receive_rest() == b""
    # The server has sent FIN; the client sends none, and the server forgets it all the same.
    await wait_until(lambda: not server.connections)
    await wire.close()


async def test_failed_client_that_does_not_answer_is_dropped_in_time(
    start_server: StartServer,
) -> None:
    server = await start_server(close_timeout=0.4)
    ends = Ends(server)
    wire, _ = await connect_both(server)
    wire.write(b"\xff\xff")
    assert (await wire.receive_close())[0] == reference.PROTOCOL_ERROR
    await wire.receive_end()
    await wait_until(lambda: ends)
    assert len(ends) == 1
    await wire.close()


async def test_abort_drops_the_socket_without_a_word(start_server: StartServer) -> None:
    server = await start_server()
    ends = Ends(server)
    wire, conn = await connect_both(server)
    conn.abort()
    with pytest.raises(sockwave.ConnectionClosed):
        conn.send("too late")
    await wire.receive_end()
    await wait_until(lambda: ends)
    assert ends[0][0] == reference.ABNORMAL
    assert conn.ready_state == sockwave.ReadyState.CLOSED
    assert not server.connections
    conn.abort()
    await wire.close()
    assert len(ends) == 1


async def test_ready_state_goes_down_in_order(start_server: StartServer) -> None:
    server = await start_server()
    states: list[int] = []
    server.on("readyStateChange", lambda conn, state: states.append(int(state)))
    wire, conn = await connect_both(server)
    wire.write_close()
    await wire.receive_close()
    await wire.receive_end()
    await wait_until(lambda: conn.ready_state == sockwave.ReadyState.CLOSED)
    assert states == [1, 3, 4, 5]
    await wire.close()


# ---- the whole server closes ---------------------------------------------------------------------


async def test_server_close_tells_everybody_and_waits(start_server: StartServer) -> None:
    server = await start_server()
    ends = Ends(server)
    wires = [await Wire.connect(server.addresses[0]) for _ in range(5)]
    await wait_until(lambda: len(server.connections) == 5)
    address = server.addresses[0]
    closing = asyncio.ensure_future(server.close(4000, "see you"))
    for wire in wires:
        assert await wire.receive_close() == (4000, "see you")
    with pytest.raises(ConnectionRefusedError):
        await Wire.open(address)
    assert not closing.done()
    for wire in wires:
        wire.write_close(4000)
        await wire.receive_end()
        await wire.close()
    await closing
    assert len(ends) == 5
    assert not server.connections


async def test_server_close_aborts_those_who_linger(start_server: StartServer) -> None:
    server = await start_server()
    wire, _ = await connect_both(server)
    started = time.monotonic()
    closing = server.close(drain=0.3)
    assert (await wire.receive_close())[0] == 1001  # before the RST, which takes it along
    await closing
    assert time.monotonic() - started < 5  # far below close_timeout
    assert not server.connections
    await wire.receive_end()
    await wire.close()


async def test_server_close_event_comes_when_all_are_gone(start_server: StartServer) -> None:
    server = await start_server()
    told: list[object] = []
    seen: list[int] = []

    @server.on("close")
    def closed(errno: int | None) -> None:
        told.append(errno)
        seen.append(len(server.connections))

    wire, _ = await connect_both(server)
    await server.close(drain=0.1)
    await wait_until(lambda: told)
    assert told == [None]
    assert seen == [0]
    await wire.close()


async def test_server_close_with_a_wrong_code_raises(start_server: StartServer) -> None:
    server = await start_server()
    wire, conn = await connect_both(server)
    with pytest.raises(ValueError, match="1005"):
        await server.close(1005)
    conn.send("still open")
    assert await wire.receive_message() == "still open"
    await wire.close()
