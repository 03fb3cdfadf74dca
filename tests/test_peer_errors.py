"""What the peer does wrong ends its connection, and nothing else."""

import asyncio

import pytest
import reference
from conftest import StartServer
from reference import BINARY, TEXT, Frame
from together import together
from wire import (
    Wire,
    assert_echoes,
    build_request,
    connect_both,
    count_descriptors,
    let_arrive,
    wait_until,
)

import sockwave

WRONG_BYTES = {
    "reserved bits": b"\xf1\x80\0\0\0\0",
    "not UTF-8": reference.serialize(Frame(TEXT, b"\xff")),
    "too big": reference.serialize_header(Frame(BINARY), 2**40),
    "not masked": b"\x81\x01a",
    "close of one byte": reference.serialize(Frame(reference.CLOSE, b"\x03")),
}


@together
@pytest.mark.parametrize("wrong", WRONG_BYTES.values(), ids=list(WRONG_BYTES))
async def test_wrong_of_a_peer_ends_that_connection_alone_and_raises_nowhere(
    start_server: StartServer, wrong: bytes
) -> None:
    server = await start_server()
    errors: list[object] = []
    server.on("error", errors.append)
    others = [await connect_both(server) for _ in range(3)]
    for _, conn in others:
        conn.on("message", conn.send)
    receivers = [await connect_both(server) for _ in range(3)]
    receiving = [asyncio.create_task(conn.receive()) for _, conn in receivers]
    bad, culprit = await connect_both(server)
    ends: list[int] = []
    culprit.on("close", ends.append)
    bad.write(wrong)
    code, _ = await bad.receive_close()
    assert code in (1002, 1007, 1009)
    bad.write_close(code)
    await bad.receive_end()
    await bad.close()
    await wait_until(lambda: ends)
    for wire, _ in others:
        wire.send("unharmed")
        assert await wire.receive_message() == "unharmed"
    for wire, _ in receivers:
        wire.send("unharmed")
    assert [await task for task in receiving] == ["unharmed"] * 3
    assert not errors
    assert len(server.connections) == 6
    for wire, _ in others + receivers:
        await wire.close()


async def test_wrong_request_gets_a_status_and_no_listener_hears_of_it(
    start_server: StartServer,
) -> None:
    server = await start_server()
    heard: list[object] = []
    for event in ("connection", "request", "error"):
        server.on(event, heard.append)
    for request, status in (
        (b"nonsense\r\n\r\n", 400),
        (
            b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n\r\n",
            400,
        ),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 40_000 + b"\r\n\r\n", 431),
    ):
        wire = await Wire.open(server.addresses[0])
        wire.write(request)
        assert (await wire.receive_head()).status == status
        await wire.receive_rest()
        await wire.close()
    assert not heard
    await assert_echoes(server)


async def test_client_that_vanishes_in_the_middle_of_a_frame_is_forgotten(
    start_server: StartServer,
) -> None:
    server = await start_server()
    ends: list[int] = []
    received: list[object] = []

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        conn.on("message", received.append)
        conn.on("close", ends.append)

    whole = reference.serialize(Frame(BINARY, b"x" * 70_000))
    for size in (1, 2, 6, 10, 14, 15, 1000, 69_000):
        for vanish in (Wire.close, Wire.reset):
            wire = await Wire.connect(server.addresses[0])
            wire.write(whole[:size])
            await wire.drain()
            await let_arrive()
            result = vanish(wire)
            if result is not None:
                await result
    await wait_until(lambda: len(ends) == 16)
    assert set(ends) == {reference.ABNORMAL}
    assert not received
    assert not server.connections
    await assert_echoes(server)


async def test_client_that_vanishes_in_the_middle_of_a_handshake_is_forgotten(
    start_server: StartServer,
) -> None:
    server = await start_server()
    heard: list[object] = []
    server.on("connection", heard.append)
    before = count_descriptors()
    for size in (0, 1, 20, 60):
        for vanish in (Wire.close, Wire.reset):
            wire = await Wire.open(server.addresses[0])
            wire.write(build_request({"Host": "example.com", "Upgrade": "websocket"})[:size])
            await let_arrive()
            result = vanish(wire)
            if result is not None:
                await result
    await wait_until(lambda: count_descriptors() <= before)
    assert not heard
