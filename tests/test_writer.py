"""What is sent in one turn leaves in one write, and what is sent to many is kept once."""

import asyncio
import gc
import socket
import struct
import sys

import pytest
import reference
from conftest import BothEnds, StartServer
from reference import BINARY, TEXT, Frame
from wire import Wire, connect_both, let_arrive, measure_resident_size, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc and TCP_INFO are Linux's")

# Where struct tcp_info of linux/tcp.h has tcpi_data_segs_in, and how long it must be for that.
DATA_SEGMENTS_AT, TCP_INFO_SIZE = 152, 160

MEBIBYTE = 2**20


def count_segments(wire: Wire) -> int:
    """Count the TCP segments with data that a client has received."""
    sock = wire.writer.get_extra_info("socket")
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_SIZE)
    (count,) = struct.unpack_from("=I", info, DATA_SEGMENTS_AT)
    return int(count)


async def test_sends_of_one_turn_leave_in_one_write(start_server: StartServer) -> None:
    server = await start_server()
    wire, conn = await connect_both(server)
    before = count_segments(wire)
    for i in range(50):
        conn.send(f"send {i}")
        server.broadcast(f"broadcast {i}")
    for i in range(50):
        assert await wire.receive_message() == f"send {i}"
        assert await wire.receive_message() == f"broadcast {i}"
    assert count_segments(wire) - before == 1
    await wire.close()


async def test_replies_to_what_came_together_leave_together(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    conn.on("message", conn.send)
    before = count_segments(wire)
    wire.write(b"".join(reference.serialize(Frame(TEXT, b"%d" % i)) for i in range(200)))
    for i in range(200):
        assert await wire.receive_message() == f"{i}"
    assert count_segments(wire) - before == 1
    await wire.close()


async def test_broadcasts_of_one_listener_leave_in_one_write_for_each_client(
    start_server: StartServer,
) -> None:
    server = await start_server()
    speaker, conn = await connect_both(server)
    hearers = [await Wire.connect(server.addresses[0]) for _ in range(5)]
    await wait_until(lambda: len(server.connections) == 6)

    @conn.on("message")
    def message(message: str) -> None:
        for i in range(10):
            assert conn.broadcast(f"{message} {i}") == 5

    before = [count_segments(wire) for wire in hearers]
    speaker.write(b"".join(reference.serialize(Frame(TEXT, b"%d" % i)) for i in range(20)))
    for wire in hearers:
        for number in range(20):
            for i in range(10):
                assert await wire.receive_message() == f"{number} {i}"
    assert [count_segments(wire) for wire in hearers] == [count + 1 for count in before]
    await speaker.close()
    for wire in hearers:
        await wire.close()


async def test_turns_of_the_loop_are_not_waited_for(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    for i in range(20):
        conn.send(f"{i}")
        assert await wire.receive_message() == f"{i}"  # it leaves though nothing else is sent
    await wire.close()


@pytest.mark.measures
@pytest.mark.slow
async def test_broadcast_is_kept_once_for_all_slow_clients(start_server: StartServer) -> None:
    server = await start_server(max_backlog=None)
    wires = [await Wire.connect(server.addresses[0], receive_buffer_size=4096) for _ in range(30)]
    await wait_until(lambda: len(server.connections) == 30)
    for wire in wires:
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await let_arrive()
    gc.collect()
    before = measure_resident_size()
    for i in range(8):
        assert server.broadcast(bytes([i]) * MEBIBYTE) == 30
        await asyncio.sleep(0)
    assert min(conn.backlog_size for conn in server.connections) > 3 * MEBIBYTE
    assert measure_resident_size() - before < 24 * MEBIBYTE  # copies would be ten times as much
    last = wires[-1]
    last.writer.transport.resume_reading()  # type: ignore[attr-defined]
    for i in range(8):
        assert await last.receive_message() == bytes([i]) * MEBIBYTE
    for wire in wires:
        wire.reset()
    await wait_until(lambda: not server.connections)


@pytest.mark.slow
async def test_backlog_is_given_back_when_it_has_left(start_server: StartServer) -> None:
    server = await start_server(max_backlog=None)
    wire, conn = await connect_both(server)
    for size in (1, 100, 10_000, 200_000):
        count = 3_000_000 // size if size > 1 else 50_000
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(count):
            conn.send(b"x" * size)
        wire.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert await wire.receive_message() == b"x" * size
        frame = reference.serialize(Frame(BINARY, b"x" * size), mask=None)
        assert await wire.receive(len(frame) * (count - 1)) == frame * (count - 1)
        await wait_until(lambda: conn.backlog_size == 0)
    await wire.close()
