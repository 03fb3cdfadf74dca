"""Listeners that raise, close or abort, at any event."""

import asyncio
import contextlib
import logging
from collections.abc import Callable

import pytest
import reference
from conftest import ErrorLog, StartServer
from reference import INTERNAL_ERROR, PING, PONG, TEXT
from together import together
from wire import (
    Wire,
    assert_echoes,
    build_request,
    connect_both,
    upgrade_headers,
    wait_until,
)

import sockwave
from sockwave import ReadyState

EVENTS = ["connection", "message", "ping", "pong", "drain", "close", "readyStateChange"]


async def provoke(
    server: sockwave.Server, event: str, act: Callable[[sockwave.Connection], object]
) -> tuple[Wire, sockwave.Connection]:
    """Connect, make `event` happen, and have `act` called by a listener of it, once."""
    accepted: list[sockwave.Connection] = []
    acted: list[bool] = []

    def listen(conn: sockwave.Connection) -> object:
        acted.append(True)
        return act(conn)

    @server.once("connection")
    def connected(conn: sockwave.Connection) -> object:
        accepted.append(conn)
        if event == "connection":
            return listen(conn)
        return conn.once(event, lambda: listen(conn))

    wire = await Wire.open(server.addresses[0])
    wire.write(build_request(upgrade_headers()))
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        await wire.receive_head()
    await wait_until(lambda: accepted)
    conn = accepted[0]
    if event in ("message", "ping", "pong"):
        wire.write_frame({"message": TEXT, "ping": PING, "pong": PONG}[event], b"go")
    elif event == "drain":
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(60):
            conn.send(b"x" * 100_000)
            await asyncio.sleep(0)
        assert conn.backlog_size > 100_000, "the kernel took it all"
        wire.writer.transport.resume_reading()  # type: ignore[attr-defined]
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while not acted:
                await wire.receive_frame()
    elif event in ("close", "readyStateChange"):
        await wire.shake_close()
    await wait_until(lambda: acted)
    return wire, conn


async def drain_wire(wire: Wire) -> bytes:
    """Read all there is, up to the server's end."""
    with contextlib.suppress(ConnectionError):
        return await wire.receive_rest()
    return b""


@together
@pytest.mark.parametrize("event", EVENTS)
async def test_listener_that_raises_costs_its_connection_and_no_other(
    start_server: StartServer, event: str
) -> None:
    server = await start_server(max_backlog=None)
    errors: list[tuple[BaseException, object]] = []
    server.on("error", lambda error, conn: errors.append((error, conn)))
    other, other_conn = await connect_both(server)
    other_conn.on("message", other_conn.send)

    def act(conn: sockwave.Connection) -> None:
        raise RuntimeError(f"deliberate, in {event}")

    wire, conn = await provoke(server, event, act)
    if event not in ("close", "readyStateChange"):
        *_, last = await wire.receive_frames_until_close()
        assert last.payload[:2] == reference.close_payload(INTERNAL_ERROR)
        wire.write_close(INTERNAL_ERROR)
        await drain_wire(wire)
    await wait_until(lambda: conn.ready_state == ReadyState.CLOSED)
    await wire.close()
    assert [(str(error), culprit) for error, culprit in errors] == [
        (f"deliberate, in {event}", conn)
    ]
    assert list(server.connections) == [other_conn]
    other.send("unharmed")
    assert await other.receive_message() == "unharmed"
    await other.close()


@together
@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("action", ["close", "abort", "send and close", "close and abort"])
async def test_listener_may_end_its_connection(
    start_server: StartServer, event: str, action: str
) -> None:
    server = await start_server(max_backlog=None)
    ends: list[int] = []

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        conn.on("close", ends.append)

    def act(conn: sockwave.Connection) -> None:
        for word in action.split(" and "):
            if word == "send":
                with contextlib.suppress(sockwave.ConnectionClosed):
                    conn.send("from a listener")
            else:
                getattr(conn, word)()

    wire, conn = await provoke(server, event, act)
    if "abort" not in action and event not in ("close", "readyStateChange"):
        wire.write_close(1000)
    await drain_wire(wire)
    await wire.close()
    await wait_until(lambda: ends)
    assert len(ends) == 1
    assert conn.ready_state == ReadyState.CLOSED
    assert not server.connections
    await assert_echoes(server)


@pytest.mark.parametrize("action", ["close", "abort"])
async def test_listener_may_end_all_other_connections(
    start_server: StartServer, action: str
) -> None:
    server = await start_server()
    ends: list[object] = []
    received: list[object] = []

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        conn.on("close", lambda: ends.append(conn.id))

        @conn.on("message")
        def message(message: str) -> None:
            received.append(conn.id)
            for other in list(server.connections):
                if other is not conn:
                    getattr(other, action)()

    wires = [await Wire.connect(server.addresses[0]) for _ in range(20)]
    await wait_until(lambda: len(server.connections) == 20)
    for wire in wires:  # all at once, so that they are readable in one batch
        wire.send("the rest of you may go")
    await wait_until(lambda: received)
    if action == "close":
        for wire in wires:
            wire.write_close(1000)
    await wait_until(lambda: len(ends) >= 19)
    assert len(received) == 1, "a connection that had been ended was still heard"
    for wire in wires:
        await wire.close()
    await wait_until(lambda: len(ends) == 20)
    assert len(set(ends)) == 20
    await assert_echoes(server)


async def test_descriptor_used_again_in_the_same_batch_is_not_mistaken(
    start_server: StartServer,
) -> None:
    server = await start_server()
    received: list[tuple[object, str]] = []

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        @conn.on("message")
        def message(message: str) -> None:
            received.append((conn.id, message))
            if message == "swap":
                for other in list(server.connections):
                    if other is not conn:
                        other.abort()
                # The next accepted sockets get the descriptors that were just closed.

    for _ in range(10):
        received.clear()
        wires = [await Wire.connect(server.addresses[0]) for _ in range(8)]
        await wait_until(lambda: len(server.connections) == 8)
        fresh = [asyncio.create_task(Wire.connect(server.addresses[0])) for _ in range(8)]
        await asyncio.sleep(0)
        for wire in wires:
            wire.send("swap")
        new = await asyncio.gather(*fresh)
        for i, wire in enumerate(new):
            wire.send(f"new {i}")
        await wait_until(lambda: received)
        for wire in (*wires, *new):
            await wire.close()
        await wait_until(lambda: not server.connections)
        assert len({conn_id for conn_id, message in received if message == "swap"}) == 1


async def test_error_without_a_listener_is_logged_with_its_traceback(
    start_server: StartServer, error_log: ErrorLog
) -> None:
    server = await start_server()
    wire, conn = await connect_both(server)

    @conn.on("message")
    def message(message: str) -> None:
        raise RuntimeError("nobody listens to this")

    wire.send("go")
    await wire.expect_failure(INTERNAL_ERROR)
    await wire.close()
    text = "\n".join(logging.Formatter().format(record) for record in error_log.records)
    assert "nobody listens to this" in text
    assert "Traceback" in text
    assert 'raise RuntimeError("nobody listens to this")' in text
    assert [record.name.split(".")[0] for record in error_log.records] == ["sockwave"]
    assert [str(error) for error in error_log.take()] == ["nobody listens to this"]
    await assert_echoes(server)


async def test_error_listener_that_raises_is_logged_and_the_server_goes_on(
    start_server: StartServer, error_log: ErrorLog
) -> None:
    server = await start_server()

    @server.on("error")
    def failed(error: BaseException) -> None:
        raise LookupError("the error listener itself")

    wire, conn = await connect_both(server)
    conn.on("message", lambda message: 1 / 0)
    wire.send("go")
    await wire.expect_failure(INTERNAL_ERROR)
    await wire.close()
    await wait_until(lambda: error_log.records)
    assert any(isinstance(error, LookupError) for error in error_log.take())
    await assert_echoes(server)


async def test_listeners_behind_one_that_raises_are_still_called(
    start_server: StartServer, error_log: ErrorLog
) -> None:
    server = await start_server()
    calls: list[str] = []
    wire, conn = await connect_both(server)
    conn.on("message", lambda message: 1 / 0)
    conn.on("message", calls.append)
    wire.send("both")
    await wire.expect_failure(INTERNAL_ERROR)
    assert calls == ["both"]
    error_log.take()
    await wire.close()


async def test_messages_behind_the_one_that_failed_are_not_delivered(
    start_server: StartServer, error_log: ErrorLog
) -> None:
    server = await start_server()
    calls: list[str] = []
    wire, conn = await connect_both(server)

    @conn.on("message")
    def message(message: str) -> None:
        calls.append(message)
        raise RuntimeError("at the first")

    for i in range(10):
        wire.send(f"{i}")
    await wire.expect_failure(INTERNAL_ERROR)
    assert calls == ["0"]
    assert len(error_log.take()) == 1
    await wire.close()


async def test_refused_connection_listener_never_sees_the_stranger(
    start_server: StartServer,
) -> None:
    server = await start_server(origin="https://example.com")
    heard: list[object] = []
    server.on("connection", heard.append)
    wire = await Wire.open(server.addresses[0])
    wire.write(
        build_request(
            {
                "Host": "x",
                "Upgrade": "websocket",
                "Connection": "Upgrade",
                "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
                "Sec-WebSocket-Version": "13",
                "Origin": "https://evil.example",
            }
        )
    )
    assert (await wire.receive_head()).status == 403
    await wire.receive_rest()
    await wire.close()
    assert not heard
