"""Every limit at its value and one past it, and what floods cost (RFC 6455, section 10.4)."""

import asyncio
import contextlib
import gc
import socket
import sys
from collections.abc import Iterator

import pytest
import reference
from conftest import BothEnds, StartServer
from reference import BINARY, CONTINUATION, PING, POLICY, PONG, TEXT, TOO_BIG, Frame
from together import together
from wire import (
    Wire,
    build_request,
    connect_both,
    connect_receiving,
    let_arrive,
    measure_resident_size,
    settle,
    upgrade_headers,
    wait_until,
)

import sockwave

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the memory")

TRY_AGAIN_LATER = 1013  # IANA's registry: what a peer that reads too slowly is told

FRAGMENT_BUDGET = 1024  # and one more for each 32 bytes of the message

MEBIBYTE = 2**20


async def start_sink(start_server: StartServer, **options: object) -> tuple[Wire, list[int]]:
    """Connect to a server that takes messages and keeps their sizes alone."""
    server = await start_server(**options)
    sizes: list[int] = []
    wire, conn = await connect_both(server)
    conn.on("message", lambda message: sizes.append(len(message)))
    return wire, sizes


def fragments(payloads: Iterator[bytes] | list[bytes], opcode: int = BINARY) -> bytes:
    """Give the unfinished fragments of one message."""
    data = []
    for payload in payloads:
        data.append(reference.serialize(Frame(opcode, payload, fin=False)))
        opcode = CONTINUATION
    return b"".join(data)


# ---- sizes ---------------------------------------------------------------------------------------


@together
@pytest.mark.parametrize("max_size", [1, 125, 126, 65535, 65536, 100_000, None])
async def test_message_at_the_limit_passes_and_one_byte_more_does_not(
    start_server: StartServer, max_size: int | None
) -> None:
    options = {} if max_size is None else {"max_size": max_size}
    size = max_size or MEBIBYTE
    wire, sizes = await start_sink(start_server, **options)
    wire.write_frame(BINARY, b"x" * size)
    wire.write_frame(TEXT, b"y" * size)
    await wait_until(lambda: sizes == [size, size])
    # The header is enough.
    wire.write(reference.serialize_header(Frame(BINARY), size + 1))
    await wire.expect_failure(TOO_BIG)
    await wire.close()


async def test_fragments_together_are_held_to_the_same_limit(start_server: StartServer) -> None:
    wire, sizes = await start_sink(start_server, max_size=1000)
    parts = [b"x" * 400, b"", b"y" * 500, b"z" * 100]
    wire.write(fragments(parts[:-1]))
    wire.write_frame(CONTINUATION, parts[-1])
    await wait_until(lambda: sizes == [1000])
    wire.write(fragments(parts))
    await wire.receive_nothing()
    wire.write(reference.serialize_header(Frame(CONTINUATION, fin=False), 1))
    await wire.expect_failure(TOO_BIG)
    await wire.close()


async def test_control_frames_do_not_count_towards_a_message(start_server: StartServer) -> None:
    wire, sizes = await start_sink(start_server, max_size=1000)
    wire.write_frame(BINARY, b"x" * 999, fin=False)
    for _ in range(20):
        wire.write_frame(PONG, b"p" * 125)
    wire.write_frame(CONTINUATION, b"y")
    await wait_until(lambda: sizes == [1000])
    await wire.close()


async def test_unlimited_size_has_to_be_said(start_server: StartServer) -> None:
    wire, sizes = await start_sink(start_server, max_size=None)
    wire.write_frame(BINARY, b"x" * (3 * MEBIBYTE))
    await wait_until(lambda: sizes == [3 * MEBIBYTE])
    wire.write(reference.serialize_header(Frame(BINARY), 2**63))
    await wire.expect_failure(reference.PROTOCOL_ERROR)
    await wire.close()


# ---- fragments -----------------------------------------------------------------------------------


async def test_empty_fragments_count_up_to_the_budget(start_server: StartServer) -> None:
    wire, sizes = await start_sink(start_server)
    wire.write(fragments([b""] * (FRAGMENT_BUDGET - 1)))
    wire.write_frame(CONTINUATION, b"")
    await wait_until(lambda: sizes == [0])
    wire.write(fragments([b""] * FRAGMENT_BUDGET))
    await wire.receive_nothing()
    wire.write_frame(CONTINUATION, b"", fin=True)
    await wire.expect_failure(POLICY)
    await wire.close()


@pytest.mark.parametrize("size", [1, 2, 31])
async def test_tiny_fragments_earn_little_and_are_stopped(
    start_server: StartServer, size: int
) -> None:
    # Fragment n + 1 is one too many as soon as n reaches 1024 + (n * size) // 32.
    allowed = next(n for n in range(10**6) if n >= FRAGMENT_BUDGET + n * size // 32)
    wire, sizes = await start_sink(start_server)
    wire.write(fragments([b"x" * size] * (allowed - 1)))
    wire.write_frame(CONTINUATION, b"x" * size)
    await wait_until(lambda: sizes == [allowed * size])
    wire.write(fragments([b"x" * size] * allowed))
    await wire.receive_nothing()
    wire.write(reference.serialize_header(Frame(CONTINUATION, fin=False), size))
    await wire.expect_failure(POLICY)
    await wire.close()


async def test_honest_fragments_are_never_too_many(start_server: StartServer) -> None:
    wire, sizes = await start_sink(start_server)
    count = MEBIBYTE // 64
    one = reference.serialize(Frame(CONTINUATION, b"x" * 64, fin=False))
    wire.write(reference.serialize(Frame(BINARY, b"x" * 64, fin=False)) + one * (count - 1))
    wire.write_frame(CONTINUATION, b"")
    await wait_until(lambda: sizes == [MEBIBYTE])
    await wire.close()


async def test_pings_do_not_count_as_fragments(start_server: StartServer) -> None:
    wire, sizes = await start_sink(start_server, control_rate=None)
    wire.write(fragments([b""] * (FRAGMENT_BUDGET - 1)))
    pong = reference.serialize(Frame(PONG, b""))
    wire.write(pong * 2000)
    wire.write_frame(CONTINUATION, b"end")
    await wait_until(lambda: sizes == [3])
    await wire.close()


async def test_budget_starts_anew_with_each_message(start_server: StartServer) -> None:
    wire, sizes = await start_sink(start_server)
    for _ in range(3):
        wire.write(fragments([b""] * (FRAGMENT_BUDGET - 1)))
        wire.write_frame(CONTINUATION, b"")
    await wait_until(lambda: sizes == [0, 0, 0])
    await wire.close()


# ---- memory --------------------------------------------------------------------------------------


class Growth:
    """How far the resident memory of this process has risen since the start."""

    def __init__(self) -> None:
        gc.collect()
        self.start = measure_resident_size()

    @property
    def size(self) -> int:
        return measure_resident_size() - self.start


@LINUX
async def test_flood_behind_an_unanswered_request_leaves_memory_flat(
    start_server: StartServer,
) -> None:
    release = asyncio.Event()

    async def authorize(request: object) -> None:
        await release.wait()

    server = await start_server(authorize=authorize)
    total = 0

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        @conn.on("message")
        def message(message: bytes) -> None:
            nonlocal total
            total += len(message)

    wire = await Wire.open(server.addresses[0])
    wire.write(build_request(upgrade_headers()))
    growth = Growth()
    batch = reference.serialize(Frame(BINARY, b"x" * 65536), b"\0\0\0\0")
    count = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.5):
            for _ in range(500):
                wire.write(batch)
                await wire.drain()
                count += 1
    assert count < 500
    assert growth.size < 4 * MEBIBYTE
    release.set()
    assert (await wire.receive_head()).status == 101
    await wire.drain()
    await wait_until(lambda: total >= count * 65536)
    await wire.close()


# ---- peers that do not read ----------------------------------------------------------------------


async def test_only_one_pong_waits_for_a_peer_that_does_not_read(
    start_server: StartServer,
) -> None:
    server = await start_server(high_water=10_000_000, max_backlog=None, control_rate=None)
    wire, conn = await connect_both(server)
    pinged: list[bytes] = []
    conn.on("ping", pinged.append)
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
    sent = 0
    while not conn.backlog_size:
        conn.send(b"b" * 100_000)
        sent += 1
        await asyncio.sleep(0.001)
    before = conn.backlog_size
    for i in range(2000):
        wire.write_frame(PING, b"%d" % i)
    await wait_until(lambda: len(pinged) == 2000)
    assert conn.backlog_size <= before + 127
    wire.writer.transport.resume_reading()  # type: ignore[attr-defined]
    for _ in range(sent):
        assert len(await wire.receive_message()) == 100_000
    assert await wire.receive_pong() == b"1999"
    wire.write_frame(PING, b"and as ever")
    assert await wire.receive_pong() == b"and as ever"
    await wire.close()


async def test_peer_whose_backlog_passes_the_limit_is_dropped(start_server: StartServer) -> None:
    server = await start_server(max_backlog=300_000, close_timeout=0.4)
    ends: list[int] = []
    slow, conn = await connect_both(server)
    conn.on("close", ends.append)
    slow.writer.transport.pause_reading()  # type: ignore[attr-defined]
    quick = await Wire.connect(server.addresses[0])
    await wait_until(lambda: len(server.connections) == 2)
    backlogs: list[int] = []
    while server.broadcast(b"b" * 50_000) == 2:
        assert await quick.receive_message() == b"b" * 50_000
        backlogs.append(conn.backlog_size)
        assert len(backlogs) < 400
    assert max(backlogs) <= 350_100
    assert await quick.receive_message() == b"b" * 50_000
    await wait_until(lambda: ends)
    assert ends == [TRY_AGAIN_LATER]
    assert len(server.connections) == 1
    assert server.broadcast("still here") == 1
    assert await quick.receive_message() == "still here"
    slow.writer.transport.resume_reading()  # type: ignore[attr-defined]
    await slow.close()
    await quick.close()


async def test_slow_peer_that_reads_again_is_told_why_it_is_dropped(
    start_server: StartServer,
) -> None:
    server = await start_server(max_backlog=300_000)
    wire, conn = await connect_both(server)
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
    with contextlib.suppress(sockwave.ConnectionClosed):
        for i in range(400):
            conn.send(bytes([i % 256]) * 50_000)
            await asyncio.sleep(0)
    wire.writer.transport.resume_reading()  # type: ignore[attr-defined]
    *frames, last = await wire.receive_frames_until_close()
    for i, frame in enumerate(frames):  # whole and in order, up to where it was cut off
        assert frame.payload == bytes([i % 256]) * 50_000
    assert reference.parse_close(last.payload)[1] == TRY_AGAIN_LATER
    wire.write_close(TRY_AGAIN_LATER)
    await wire.receive_end()
    await wire.close()


async def test_application_that_awaits_its_sends_never_passes_the_limit(
    both_ends: BothEnds,
) -> None:
    wire, conn = both_ends
    sock = wire.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)

    async def produce() -> None:
        for i in range(20):
            await conn.send(bytes([i]) * MEBIBYTE)
            await conn.send(f"{i}")

    producing = asyncio.create_task(produce())
    for i in range(20):
        await asyncio.sleep(0.01)
        assert await wire.receive_message() == bytes([i]) * MEBIBYTE
        assert await wire.receive_message() == f"{i}"
    await producing
    await wire.close()


async def test_large_messages_are_echoed_to_a_slow_peer(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    conn.on("message", conn.send)
    large = b"e" * (MEBIBYTE - 100)
    data = reference.serialize(Frame(BINARY, large), b"\0\0\0\0")
    small = reference.serialize(Frame(BINARY, b"small"))
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
    wire.write((data + small * 20) * 12)
    await settle(lambda: conn.backlog_size)
    assert conn.backlog_size > 0
    wire.writer.transport.resume_reading()  # type: ignore[attr-defined]
    for _ in range(12):
        assert await wire.receive_message() == large
        for _ in range(20):
            assert await wire.receive_message() == b"small"
    await wire.close()


async def test_backlog_under_the_limit_is_delivered_whole(start_server: StartServer) -> None:
    server = await start_server(max_backlog=8 * MEBIBYTE)
    wire, conn = await connect_both(server)
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
    for i in range(60):
        conn.send(bytes([i]) * 100_000)
    assert await settle(lambda: conn.backlog_size) > 0
    wire.writer.transport.resume_reading()  # type: ignore[attr-defined]
    for i in range(60):
        assert await wire.receive_message() == bytes([i]) * 100_000
    await wire.close()


async def test_awaiting_send_waits_for_a_slow_reader(start_server: StartServer) -> None:
    server = await start_server(max_backlog=None)
    wire, conn = await connect_both(server)
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
    sent = 0
    backlogs: list[int] = []

    async def produce() -> None:
        nonlocal sent
        for i in range(300):
            await conn.send(bytes([i % 256]) * 50_000)
            backlogs.append(conn.backlog_size)
            sent += 1

    producing = asyncio.create_task(produce())
    assert await settle(lambda: sent) < 300
    assert conn.backlog_size > 0
    wire.writer.transport.resume_reading()  # type: ignore[attr-defined]
    for i in range(300):
        assert await wire.receive_message() == bytes([i % 256]) * 50_000
    await producing
    assert max(backlogs) <= 65536 + 50_010
    await wire.close()


async def test_drain_event_comes_when_the_backlog_has_gone(start_server: StartServer) -> None:
    server = await start_server(max_backlog=None)
    wire, conn = await connect_both(server)
    drained: list[int] = []
    conn.on("drain", lambda: drained.append(conn.backlog_size))
    conn.send("small")
    assert await wire.receive_message() == "small"
    assert drained == []
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
    for _ in range(100):
        conn.send(b"x" * 100_000)
    await let_arrive()
    assert drained == []
    wire.writer.transport.resume_reading()  # type: ignore[attr-defined]
    for _ in range(100):
        await wire.receive_message()
    await wait_until(lambda: drained)
    assert len(drained) == 1
    assert drained[0] < 16384
    await wire.close()


# ---- applications that do not keep up ------------------------------------------------------------


@pytest.mark.parametrize("size", [100, 50_000, 600_000])
@pytest.mark.slow
async def test_fast_sender_is_paused_and_nothing_is_lost(both_ends: BothEnds, size: int) -> None:
    wire, conn = both_ends
    first = asyncio.ensure_future(conn.receive())
    await asyncio.sleep(0)  # from here on the messages are queued
    count = max(60, 15_000_000 // size)
    one = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    batch = 1 if size > 100 else 1000
    sent = 0

    async def flood() -> None:
        nonlocal sent
        for start in range(0, count, batch):
            wire.write(
                b"".join(
                    reference.serialize(Frame(BINARY, one + start.to_bytes(4, "big")), b"\0\0\0\0")
                    for start in range(start, start + batch)
                )
            )
            await wire.drain()
            sent += batch

    flooding = asyncio.create_task(flood())
    # It ends only if the socket is not read while nobody takes the messages.
    assert await settle(lambda: sent) < count
    for i in range(count):
        message = await (first if i == 0 else conn.receive())
        assert message == one + i.to_bytes(4, "big")
    await flooding
    wire.send("and after")
    assert await conn.receive(timeout=10) == "and after"
    await wire.close()


async def test_queue_holds_no_more_messages_than_it_should(start_server: StartServer) -> None:
    server = await start_server(queue_count=4)
    wire, conn = await connect_receiving(server)
    for i in range(1, 200):
        wire.send(f"{i}")
    wire.write_close(1000)
    # Nobody takes them, so the close behind them is not read yet.
    await wire.receive_nothing()
    for i in range(1, 200):
        assert await conn.receive(timeout=5) == f"{i}"
    with pytest.raises(sockwave.ConnectionClosed):
        await conn.receive(timeout=5)
    assert (await wire.receive_close())[0] == 1000
    await wire.close()


@pytest.mark.parametrize("reads_one", [False, True], ids=["reads nothing", "reads one"])
async def test_connection_that_nobody_reads_any_more_is_not_stuck(
    start_server: StartServer, reads_one: bool
) -> None:
    server = await start_server(listen_timeout=0.3)
    release, finished = asyncio.Event(), asyncio.Event()

    @server.on("connection")
    async def connected(conn: sockwave.Connection) -> None:
        if reads_one:
            assert await conn.receive() == "0"
        await release.wait()
        finished.set()

    wire = await Wire.connect(server.addresses[0])
    for i in range(100):
        wire.send(f"{i}")
    await let_arrive()
    release.set()
    await finished.wait()
    wire.write_frame(PING, b"still there?")
    assert await wire.receive_pong() == b"still there?"
    await wire.close()
    await wait_until(lambda: not server.connections)


# ---- deadlines -----------------------------------------------------------------------------------


async def test_client_that_never_shakes_hands_is_dropped(start_server: StartServer) -> None:
    server = await start_server(handshake_timeout=0.3)
    silent = await Wire.open(server.addresses[0])
    slow = await Wire.open(server.addresses[0])

    async def drip() -> None:
        for octet in b"GET / HTTP/1.1\r\nHost: example.com\r\n" * 100:
            slow.write(bytes([octet]))
            await asyncio.sleep(0.02)

    dripping = asyncio.create_task(drip())
    assert await silent.receive_rest() == b""
    assert b"101" not in await slow.receive_rest()
    dripping.cancel()
    await silent.close()
    await slow.close()


@pytest.mark.slow
async def test_connection_outlives_the_deadline_of_its_handshake(
    start_server: StartServer,
) -> None:
    server = await start_server(handshake_timeout=0.3)
    wire, conn = await connect_both(server)
    conn.on("message", conn.send)
    await wire.receive_nothing(0.9)
    wire.send("still here")
    assert await wire.receive_message() == "still here"
    await wire.close()
