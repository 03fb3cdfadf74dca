"""Closing while the peer sends more than is read: the peer's answer comes, and the end with it.

Where the peer does not come to read the close frame, the end has another code.
"""

import contextlib
import ssl
from collections.abc import Callable
from typing import Any

import pytest
from certificates import client_context, server_context
from conftest import ErrorLog
from wire import PATIENCE_S, wait_until

import sockwave

#: For the closing side.
PATIENT: dict[str, Any] = {"close_timeout": PATIENCE_S / 2}

Flood = Callable[[sockwave.Connection], Any]


async def flood_by_a_task(conn: sockwave.Connection) -> None:
    """Send as fast as the backlog lets it."""
    with contextlib.suppress(sockwave.ConnectionClosed):
        while True:
            await conn.send(bytes(16_384))


def flood_by_a_listener(conn: sockwave.Connection) -> None:
    """Fill the backlog, and again whenever it has fallen."""

    def fill() -> None:
        while conn.is_open and conn.backlog_size < 600_000:
            conn.send(bytes(16_384))

    conn.on("drain", fill)
    fill()


@pytest.fixture(params=["tcp", "tls"])
def contexts(request: pytest.FixtureRequest) -> tuple[ssl.SSLContext | None, ...]:
    """What the server and the client speak TLS by, if they do."""
    return (server_context(), client_context()) if request.param == "tls" else (None, None)


def listening(
    engine: str, context: ssl.SSLContext | None, on_connection: Any, **options: Any
) -> sockwave.Server:
    server = sockwave.create_server(engine=engine, high_water=65_536, **options)
    server.on("connection", on_connection)
    return server.listen(0, "127.0.0.1", ssl=context)


def connect(
    server: sockwave.Server, engine: str, context: ssl.SSLContext | None, **options: Any
) -> Any:
    scheme = "wss" if context else "ws"
    uri = f"{scheme}://localhost:{server.addresses[0][1]}/"
    return sockwave.connect(uri, engine=engine, ssl=context, high_water=65_536, **options)


@pytest.mark.parametrize("flood", [flood_by_a_task, flood_by_a_listener])
async def test_client_closes_while_the_server_floods(
    engine: str,
    contexts: tuple[ssl.SSLContext | None, ...],
    flood: Flood,
    error_log: ErrorLog,
) -> None:
    async with listening(engine, contexts[0], flood) as server:
        async with connect(server, engine, contexts[1], **PATIENT) as conn:
            await wait_until(lambda: all(one.backlog_size > 65_536 for one in server.connections))
            await conn.close(4000, "enough")
        assert conn.close_code == 4000
        await wait_until(lambda: not server.connections)


@pytest.mark.parametrize("flood", [flood_by_a_task, flood_by_a_listener])
async def test_server_closes_while_the_client_floods(
    engine: str,
    contexts: tuple[ssl.SSLContext | None, ...],
    flood: Flood,
    error_log: ErrorLog,
) -> None:
    async with (
        listening(engine, contexts[0], lambda conn: None, **PATIENT) as server,
        connect(server, engine, contexts[1]) as conn,
    ):
        conn.on("message", lambda message: None)  # which makes a client wait for its server
        flooding = flood(conn)
        flooding = conn.create_task(flooding) if flooding is not None else None
        await wait_until(lambda: conn.backlog_size > 65_536)
        (accepted,) = server.connections
        await accepted.close(4000, "enough")
        assert accepted.close_code == 4000
        await conn.wait_closed()
        assert conn.close_code == 4000


@pytest.mark.slow
async def test_both_flood_and_one_closes(
    engine: str, contexts: tuple[ssl.SSLContext | None, ...], error_log: ErrorLog
) -> None:
    async def flood_and_take(conn: sockwave.Connection) -> None:
        # Who takes nothing hears of no close behind it before its `listen_timeout`.
        conn.on("message", bytes.__len__)
        await flood_by_a_task(conn)

    async with listening(engine, contexts[0], flood_and_take) as server:
        async with connect(server, engine, contexts[1], **PATIENT) as conn:
            conn.create_task(flood_by_a_task(conn))
            await wait_until(lambda: all(one.backlog_size > 65_536 for one in server.connections))
            await conn.close(4000, "enough")
        assert conn.close_code == 4000


async def test_a_flood_of_answers_is_bounded_all_the_same(
    engine: str, contexts: tuple[ssl.SSLContext | None, ...], error_log: ErrorLog
) -> None:
    # A client that sends, and takes no answers: what it sends is not read without end.
    most = 0

    def connected(conn: sockwave.Connection) -> None:
        @conn.on("message")
        def message(message: bytes) -> None:
            nonlocal most
            conn.send(message)
            most = max(most, conn.backlog_size)

    async with (
        listening(engine, contexts[0], connected, max_backlog=None) as server,
        connect(
            server, engine, contexts[1], queue_count=1, listen_timeout=None, max_backlog=None
        ) as conn,
    ):
        for _ in range(1000):
            conn.send(bytes(16_384))
        await wait_until(lambda: most > 65_536)
        for number in range(1000):
            assert await conn.receive() == bytes(16_384), number
    assert most < 200_000
