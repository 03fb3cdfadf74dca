"""Messages that come before anybody listens: kept, waited with, and then dropped in the open."""

import asyncio
import contextlib
import ctypes
import logging
import socket
import struct
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import reference
from certificates import server_context
from conftest import StartServer
from kernel import find_accepted
from reference import PING, TEXT, Frame, serialize_hixie
from tls_wire import TlsWire
from wire import Wire, connect_both, wait_until

import sockwave

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="what the kernel was asked for")

#: Times for the options: as short as the wheel's ticks allow to tell them apart.
SOON, LATER, MANY = 0.1, 0.4, 8

FORTY = [str(number) for number in range(40)]


async def take_all(conn: sockwave.Connection, messages: list[Any]) -> None:
    """Receive until the end."""
    async for message in conn:
        messages.append(message)  # noqa: PERF401 - seen from outside, one by one


async def add_listener(conn: sockwave.Connection, messages: list[Any]) -> None:
    conn.on("message", messages.append)


LISTENERS = {"async for": take_all, "listener": add_listener}


def send_forty(wire: Wire) -> None:
    """Send forty messages in one write."""
    wire.write(b"".join(reference.serialize(Frame(TEXT, text.encode())) for text in FORTY))


# ---- until somebody listens ----------------------------------------------------------------------


@pytest.mark.parametrize("how", LISTENERS)
@pytest.mark.parametrize("carried", ["rfc6455", "hybi-08", "draft76", "draft75", "tls", "unix"])
async def test_forty_messages_wait_for_a_listener_that_comes_late(
    start_server: StartServer, tmp_path: Path, carried: str, how: str
) -> None:
    server = await start_server()
    got: list[Any] = []
    tasks: list[asyncio.Task[None]] = []
    may_listen = asyncio.Event()

    async def listen_late(conn: sockwave.Connection) -> None:
        await may_listen.wait()
        await LISTENERS[how](conn, got)

    server.on("connection", lambda conn: tasks.append(asyncio.create_task(listen_late(conn))))
    frames = b"".join(reference.serialize(Frame(TEXT, text.encode())) for text in FORTY)
    texts = b"".join(serialize_hixie(text) for text in FORTY)
    wire: Any
    if carried == "tls":
        server.listen(0, "127.0.0.1", ssl=server_context())
        wire = await TlsWire.connect(server.addresses[-1])
        wire.write(frames)
    elif carried == "unix":
        server.listen(0, path=str(tmp_path / "socket"))
        wire = await Wire.connect(server.addresses[-1], behind=frames)
    elif carried.startswith("draft"):
        wire = await Wire.connect_hixie(server.addresses[0], int(carried[-2:]), behind=texts)
    else:
        version = 8 if carried == "hybi-08" else 13
        wire = await Wire.connect(server.addresses[0], version=version, behind=frames)
    await wait_until(lambda: server.limit_hits["queue_count"])
    may_listen.set()
    await wait_until(lambda: len(got) == len(FORTY))
    assert got == FORTY
    assert server.dropped_count == 0
    for task in tasks:
        task.cancel()


async def test_what_is_kept_is_held_to_the_limits(start_server: StartServer) -> None:
    server = await start_server(queue_count=3, queue_size=1000)
    wire, conn = await connect_both(server)
    for text in "123":
        wire.send(text)
    await wait_until(lambda: server.limit_hits["queue_count"])
    other, other_conn = await connect_both(server)
    other.send("x" * 999)
    await other.wait_until_read()
    other.send("x")
    await wait_until(lambda: server.limit_hits["queue_size"])
    for one in (wire, other):
        one.write_frame(PING, b"not read")
        await one.receive_nothing()
    assert [await conn.receive() for _ in range(3)] == ["1", "2", "3"]
    other_conn.on("message", lambda: None)
    for one in (wire, other):
        await one.receive_pong()


# ---- when nobody has listened in time ------------------------------------------------------------


async def test_messages_that_nobody_listens_to_in_time_are_dropped_and_counted(
    start_server: StartServer, caplog: pytest.LogCaptureFixture
) -> None:
    server = await start_server(listen_timeout=SOON)
    wires = [await connect_both(server) for _ in range(3)]
    for wire, _ in wires:
        send_forty(wire)
    for wire, conn in wires:
        await wire.wait_until_read()
        assert conn.dropped_count == len(FORTY)
    assert server.dropped_count == 3 * len(FORTY)
    assert server.limit_hits["listen_timeout"] == 3
    warnings = [record for record in caplog.records if "listen_timeout" in record.getMessage()]
    assert len(warnings) == 1
    assert warnings[0].levelno == logging.WARNING
    wire, conn = wires[0]
    wire.send("one more")
    await wire.wait_until_read()
    assert conn.dropped_count == len(FORTY) + 1
    heard: list[str] = []
    conn.on("message", heard.append)
    wire.send("heard")
    await wait_until(lambda: heard == ["heard"])
    receiving = asyncio.ensure_future(wires[1][1].receive())
    await asyncio.sleep(0)
    wires[1][0].send("received")
    assert await receiving == "received"
    assert server.limit_hits["listen_timeout"] == 3


@pytest.mark.parametrize("draft", [75, 76])
async def test_a_draft_client_that_nobody_listens_to_is_read_on(
    start_server: StartServer, draft: int
) -> None:
    server = await start_server(listen_timeout=SOON)
    texts = b"".join(serialize_hixie(text) for text in FORTY)
    await Wire.connect_hixie(server.addresses[0], draft, behind=texts)
    await wait_until(lambda: server.dropped_count == len(FORTY))


async def send_on(conn: sockwave.Connection) -> None:
    """Send, and never listen."""
    while True:
        await conn.send("tick")
        await asyncio.sleep(SOON)


@pytest.mark.parametrize("how", ["handler", "listener", "task"])
async def test_who_only_sends_listens_to_nothing(start_server: StartServer, how: str) -> None:
    server = await start_server(listen_timeout=SOON)
    if how == "handler":
        server.handle_with(send_on)
    else:
        server.on(
            "connection", send_on if how == "listener" else lambda c: c.create_task(send_on(c))
        )
    wire, conn = await connect_both(server)
    send_forty(wire)
    await wait_until(lambda: conn.dropped_count == len(FORTY))
    wire.write_close()
    await wait_until(lambda: conn.ready_state == sockwave.ReadyState.CLOSED)


@pytest.mark.slow
async def test_the_time_runs_from_the_first_message_that_nobody_takes(
    start_server: StartServer,
) -> None:
    server = await start_server(listen_timeout=SOON)
    wire, conn = await connect_both(server)
    await wire.receive_nothing(LATER)
    receiving = asyncio.ensure_future(conn.receive())
    await asyncio.sleep(0)
    wire.send("1")
    assert await receiving == "1"
    send_forty(wire)
    await wait_until(lambda: server.limit_hits["queue_count"])
    await wire.receive_nothing(LATER)  # somebody has begun to take them, and takes his time
    assert [await conn.receive() for _ in FORTY] == FORTY
    assert server.limit_hits["listen_timeout"] == 0


async def test_who_has_listened_and_no_longer_does_is_waited_for_again(
    start_server: StartServer,
) -> None:
    server = await start_server(listen_timeout=SOON)
    wire, conn = await connect_both(server)
    heard: list[str] = []
    conn.once("message", heard.append)
    send_forty(wire)
    await wait_until(lambda: conn.dropped_count == len(FORTY) - 1)
    assert heard == ["0"]


async def test_a_listener_that_has_received_and_ended_is_waited_for_no_longer(
    start_server: StartServer,
) -> None:
    server = await start_server(listen_timeout=SOON)
    received: list[object] = []

    @server.on("connection")
    async def connected(conn: sockwave.Connection) -> None:
        received.append(await conn.receive())

    wire, conn = await connect_both(server)
    send_forty(wire)
    await wait_until(lambda: conn.dropped_count == len(FORTY) - 1)
    assert received == ["0"]


async def test_without_the_limit_messages_wait_on(start_server: StartServer) -> None:
    server = await start_server(listen_timeout=None)
    wire, conn = await connect_both(server)
    send_forty(wire)
    wire.write_frame(PING)
    await wire.receive_nothing(LATER)
    got: list[Any] = []
    conn.on("message", got.append)
    await wire.receive_pong()
    assert got == FORTY


async def test_a_message_that_might_be_streamed_waits_no_longer_than_that(
    start_server: StartServer,
) -> None:
    server = await start_server(listen_timeout=SOON, max_size=100)
    server.handle_with(send_on)
    wire, _conn = await connect_both(server)
    wire.send("x" * 101)
    frames = await wire.receive_frames_until_close()
    assert reference.parse_close(frames[-1].payload)[1] == 1009


# ---- a socket that is not read is held to its times ----------------------------------------------


@contextlib.asynccontextmanager
async def unread(
    start_server: StartServer, **options: Any
) -> AsyncIterator[tuple[Wire, sockwave.Connection]]:
    """Connect a client that is not read, as nobody takes what it has sent."""
    server = await start_server(listen_timeout=None, queue_count=1, **options)
    wire, conn = await connect_both(server)
    wire.send("not taken")
    await wait_until(lambda: server.limit_hits["queue_count"])
    yield wire, conn


def vanish(wire: Wire) -> None:
    """Have the kernel drop whatever comes for a client, unseen: a filter that passes nothing."""
    attach_filter = 26  # SO_ATTACH_FILTER
    program = struct.pack("HBBI", 6, 0, 0, 0)  # BPF_RET | BPF_K, 0
    room = bytearray(program)
    address = (ctypes.c_char * len(room)).from_buffer(room)
    raw = wire.writer.get_extra_info("socket")
    raw.setsockopt(
        socket.SOL_SOCKET, attach_filter, struct.pack("HP", 1, ctypes.addressof(address))
    )


@pytest.mark.slow
async def test_a_client_that_is_not_read_answers_no_ping_and_stays(
    start_server: StartServer,
) -> None:
    times = {"ping_interval": SOON, "ping_timeout": SOON, "idle_timeout": LATER}
    async with unread(start_server, **times) as (wire, conn):
        for _ in range(MANY):  # asked again and again, as nothing else tells that it is there
            await wire.receive_ping()
        assert await conn.receive() == "not taken"
        wire.write_frame(PING, b"read")
        assert await wire.receive_pong() == b"read"


@LINUX
@pytest.mark.slow
async def test_a_client_that_vanishes_while_it_is_not_read_is_ended(
    start_server: StartServer,
) -> None:
    async with unread(start_server, ping_interval=SOON, ping_timeout=LATER) as (wire, conn):
        for _ in range(MANY):
            await wire.receive_ping()
        vanish(wire)
        await wait_until(lambda: conn.close_code == 1011)


@LINUX
@pytest.mark.parametrize("draft", [None, 75, 76])
async def test_the_kernel_asks_a_client_that_is_not_read_and_cannot_be_pinged(
    start_server: StartServer, draft: int | None
) -> None:
    server = await start_server(
        listen_timeout=None, queue_count=1, ping_interval=None, idle_timeout=SOON
    )
    if draft:
        text = serialize_hixie("not taken")
        wire = await Wire.connect_hixie(server.addresses[0], draft, behind=text)
    else:
        wire = await Wire.connect(
            server.addresses[0], behind=reference.serialize(Frame(TEXT, b"not taken"))
        )
    with find_accepted(wire) as accepted:
        await wait_until(lambda: accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
    await wire.receive_nothing(LATER)  # it is not idle: nobody knows what it has said


@pytest.mark.parametrize("draft", [None, 75, 76])
async def test_a_client_that_is_not_read_and_resets_is_gone(
    start_server: StartServer, draft: int | None
) -> None:
    server = await start_server(
        listen_timeout=None, queue_count=1, ping_interval=None, idle_timeout=SOON
    )
    if draft:
        text = serialize_hixie("not taken")
        wire = await Wire.connect_hixie(server.addresses[0], draft, behind=text)
    else:
        wire = await Wire.connect(
            server.addresses[0], behind=reference.serialize(Frame(TEXT, b"not taken"))
        )
    await wait_until(lambda: server.limit_hits["queue_count"])
    wire.reset()
    await wait_until(lambda: not len(server.connections))


async def test_a_client_that_is_not_read_ends_with_its_lifetime(start_server: StartServer) -> None:
    async with unread(start_server, max_lifetime=LATER) as (wire, conn):
        assert (await wire.receive_close())[0] == 1001
        wire.write_close(1001)
        await wait_until(lambda: conn.close_code == 1001)


async def test_a_client_that_is_not_read_has_its_time_to_answer_a_close(
    start_server: StartServer,
) -> None:
    async with unread(start_server, close_timeout=SOON) as (wire, conn):
        conn.close()
        assert (await wire.receive_close())[0] == 1000
        await wait_until(lambda: conn.close_code == 1006)
