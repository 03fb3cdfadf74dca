"""A peer that takes nothing of what waits for it is dropped; one that is slow is not."""

import asyncio
import socket
import sys

import pytest
from certificates import server_context
from conftest import BothEnds, StartServer
from kernel import find_accepted, measure_unsent
from tls_wire import TlsWire
from wire import (
    PATIENCE_S,
    Wire,
    build_request,
    connect_both,
    reset_at_close,
    upgrade_headers,
    wait_until,
)

import sockwave

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="what the kernel was asked for")

#: For the option: as short as the looks of the wheel allow to be told apart from no patience.
SHORT = 0.4

#: Longer than it takes to be found late: see `PROMPT_TICK_COUNT`.
LATE_S = 0.5

#: More than the kernel takes for a peer that does not read, on both ends together.
MUCH = 16 << 20

MIB = 1 << 20
CHUNK_SIZE, HELD_SIZE, TAKEN_SIZE = 64 << 10, 256 << 10, 512 << 10

#: What a peer on a slow network takes at once, and what its kernel holds for it.
SIP_SIZE, BUFFER_SIZE = 32 << 10, 16 << 10


def note_end(conn: sockwave.Connection) -> list[int]:
    """Give the list that the code of the connection's end will stand in."""
    codes: list[int] = []
    conn.on("close", lambda code, reason: codes.append(code))
    return codes


@pytest.mark.slow
async def test_who_takes_nothing_is_dropped(start_server: StartServer) -> None:
    server = await start_server(write_timeout=SHORT, max_backlog=None)
    wire, conn = await connect_both(server, receive_buffer_size=BUFFER_SIZE)
    codes = note_end(conn)
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
    conn.send(bytes(MUCH))
    await wait_until(lambda: codes)
    assert codes == [1006]
    assert conn.backlog_size == 0


@pytest.mark.slow
async def test_who_takes_a_little_at_a_time_gets_all_of_it(start_server: StartServer) -> None:
    # Longer than a busy machine lets a client wait, and a part of the time that all of it takes.
    server = await start_server(write_timeout=1.0, max_backlog=None)
    wire, conn = await connect_both(server, receive_buffer_size=BUFFER_SIZE)
    codes = note_end(conn)
    size = 3 << 20
    sent = conn.send(bytes(size))
    left = size + 10
    while left:
        data = await wire.reader.read(min(SIP_SIZE, left))
        assert data, f"dropped with {left} bytes to go, {codes}"
        left -= len(data)
        await asyncio.sleep(0.02)  # the network's, not for anything to happen meanwhile
    await sent
    assert not codes


@pytest.mark.slow
async def test_message_that_is_sent_again_and_again_does_not_put_the_end_off(
    start_server: StartServer,
) -> None:
    server = await start_server(write_timeout=SHORT, max_backlog=None, ping_interval=0.1)
    wire, conn = await connect_both(server, receive_buffer_size=BUFFER_SIZE)
    codes = note_end(conn)
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
    conn.send(bytes(MUCH))

    def keep_sending() -> bool:
        if not codes:
            conn.send("more")
        return bool(codes)

    await wait_until(keep_sending)


@LINUX
async def test_kernel_holds_little_of_what_a_peer_does_not_take(start_server: StartServer) -> None:
    server = await start_server(max_backlog=None)
    wire, conn = await connect_both(server, receive_buffer_size=BUFFER_SIZE)
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
    for _ in range(MUCH // CHUNK_SIZE):
        conn.send(bytes(CHUNK_SIZE))
        await asyncio.sleep(0)
    with find_accepted(wire) as accepted:
        assert measure_unsent(accepted) <= HELD_SIZE
    assert conn.backlog_size > MUCH - 2 * HELD_SIZE


@LINUX
@pytest.mark.parametrize("engine", ["epoll"])  # the other has the kernel hold little for anybody
async def test_kernel_holds_more_for_who_takes_it_at_once_and_little_again_once_he_is_late(
    start_server: StartServer,
) -> None:
    server = await start_server(max_backlog=None)
    wire, conn = await connect_both(server, receive_buffer_size=HELD_SIZE)
    with find_accepted(wire) as accepted:

        def may_hold() -> int:
            return accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT)

        little = may_hold()

        async def take_messages() -> None:
            while may_hold() == little:
                await conn.send(bytes(TAKEN_SIZE))
                await wire.receive_message()

        await asyncio.wait_for(take_messages(), PATIENCE_S)
        wire.pause_reading()
        for _ in range(MUCH // CHUNK_SIZE):
            conn.send(bytes(CHUNK_SIZE))
            await asyncio.sleep(0)
        assert HELD_SIZE < measure_unsent(accepted) <= HELD_SIZE + MIB
        await asyncio.sleep(LATE_S)  # his time, not for anything to happen meanwhile
        wire.resume_reading()

        async def take_until_found_late() -> None:
            while may_hold() != little:
                await wire.receive_message()

        await asyncio.wait_for(take_until_found_late(), PATIENCE_S)
        assert conn.backlog_size > MUCH // 2


@pytest.mark.slow
async def test_who_takes_nothing_over_tls_is_dropped(start_server: StartServer) -> None:
    server = await start_server(write_timeout=SHORT, max_backlog=None)
    server.listen(0, "127.0.0.1", ssl=server_context())
    await wait_until(lambda: len(server.addresses) == 2)
    accepted: list[sockwave.Connection] = []
    server.on("connection", accepted.append)
    made = await TlsWire.connect(server.addresses[1])
    await wait_until(lambda: accepted)
    codes = note_end(accepted[0])
    made.wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
    # The first leaves the kernel full, and the rest of a record with the layer that has sealed it.
    accepted[0].send(bytes(MUCH))
    await wait_until(lambda: codes)
    assert codes == [1006]


@pytest.mark.slow
async def test_task_that_sends_for_ever_hears_of_the_end(start_server: StartServer) -> None:
    server = await start_server(write_timeout=SHORT)
    wire, conn = await connect_both(server, receive_buffer_size=BUFFER_SIZE)
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]

    async def send_for_ever() -> None:
        while True:
            await conn.send(bytes(1 << 17))

    with pytest.raises(sockwave.ConnectionClosed):
        await send_for_ever()


async def test_task_that_sends_for_ever_hears_of_a_reset(start_server: StartServer) -> None:
    server = await start_server()
    accepted: list[sockwave.Connection] = []
    server.on("connection", accepted.append)
    with socket.create_connection(server.addresses[0]) as sock:
        sock.sendall(build_request(upgrade_headers()))
        await wait_until(lambda: accepted)
        reset_at_close(sock)

    async def send_very_often() -> None:
        for _ in range(1000):
            await accepted[0].send(bytes(1 << 17))

    # From here on nothing but the task gives the loop a chance to find out.
    with pytest.raises(sockwave.ConnectionClosed):
        await send_very_often()


async def test_who_waits_behind_a_streamed_message_hears_of_the_end(
    both_ends: BothEnds,
) -> None:
    wire, conn = both_ends
    out = conn.stream_message("text")
    await out.__aenter__()
    await out.write("begun")
    waiting = asyncio.ensure_future(conn.send(bytes(1 << 18)))
    wire.reset()
    async with asyncio.timeout(10):
        await waiting
    with pytest.raises(sockwave.ConnectionClosed):
        out.write("more")


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.slow
async def test_answer_that_nobody_takes_is_given_up(start_server: StartServer, whole: bool) -> None:
    server = await start_server(write_timeout=SHORT, body_timeout=None, max_backlog=None)
    ended = asyncio.Event()

    @server.on("request")
    async def answer(request: object, response: sockwave.Response) -> None:
        try:
            if whole:
                response.end(bytes(MUCH))
                await asyncio.Event().wait()
            while True:
                await response.write(bytes(1 << 16))
        finally:
            ended.set()

    wire = await Wire.open(server.addresses[0], receive_buffer_size=BUFFER_SIZE)
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
    wire.write(build_request({"Host": "example.com"}))
    async with asyncio.timeout(10):
        await ended.wait()


@pytest.mark.slow
async def test_connection_that_ends_is_not_waited_for_any_longer(start_server: StartServer) -> None:
    server = await start_server(write_timeout=SHORT, close_timeout=None, max_backlog=None)
    wire, conn = await connect_both(server, receive_buffer_size=BUFFER_SIZE)
    codes = note_end(conn)
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
    conn.send(bytes(MUCH))
    conn.close()
    await wait_until(lambda: codes)


@pytest.mark.slow
async def test_patience_can_be_without_end(start_server: StartServer) -> None:
    server = await start_server(write_timeout=None, max_backlog=None, ping_interval=None)
    wire, conn = await connect_both(server, receive_buffer_size=BUFFER_SIZE)
    codes = note_end(conn)
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
    conn.send(bytes(MUCH))
    await asyncio.sleep(3 * SHORT)  # nothing is to happen meanwhile
    assert not codes


@LINUX
@pytest.mark.parametrize(
    ("write_timeout", "expected_ms"), [(20.0, 30_000), (None, 0), (4e6, 2**31 - 1)]
)
async def test_kernel_is_told_how_long_a_peer_may_acknowledge_nothing(
    start_server: StartServer, write_timeout: float | None, expected_ms: int
) -> None:
    server = await start_server(write_timeout=write_timeout)
    wire = await Wire.connect(server.addresses[0])
    with find_accepted(wire) as accepted:
        told = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    assert told == expected_ms
