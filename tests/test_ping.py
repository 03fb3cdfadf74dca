"""`await conn.ping()`: which pong answers it, and how it ends where none does."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from conftest import BothEnds, StartServer
from reference import PONG
from wire import Wire, case, connect_both, let_arrive, wait_until

import sockwave

SOON = 0.2


async def test_pong_with_the_same_data_answers_a_ping(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    for data, payload in [(b"", b""), (b"x", b"x"), ("ë", "ë".encode()), (bytes(125), bytes(125))]:
        waiting = conn.ping(data)
        assert await wire.receive_ping() == payload
        wire.write_frame(PONG, payload)
        assert await waiting == conn.latency


async def test_pong_with_other_data_answers_nothing_and_is_emitted(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    heard: list[bytes] = []
    conn.on("pong", heard.append)
    waiting = asyncio.ensure_future(conn.ping(b"mine"))
    for payload in (b"other", b"", b"mine too"):
        wire.write_frame(PONG, payload)
    await wait_until(lambda: heard == [b"other", b"", b"mine too"])
    assert not waiting.done()
    assert conn.latency is None
    wire.write_frame(PONG, b"mine")
    assert await waiting == conn.latency
    assert heard[3:] == [b"mine"]


async def test_pong_of_a_later_ping_answers_the_earlier_ones(both_ends: BothEnds) -> None:
    # 5.5.3: an endpoint that gets several pings "MAY elect to send a Pong frame for only the most
    # recently processed Ping frame".
    wire, conn = both_ends
    waiting = [asyncio.ensure_future(conn.ping(data)) for data in (b"1", b"2", b"3")]
    wire.write_frame(PONG, b"2")
    await asyncio.wait(waiting[:2])
    await let_arrive()
    assert [one.done() for one in waiting] == [True, True, False]
    wire.write_frame(PONG, b"3")
    await waiting[2]


async def test_ping_that_is_not_answered_raises_after_ping_timeout(
    start_server: StartServer,
) -> None:
    server = await start_server(ping_interval=None, ping_timeout=SOON)
    wire, conn = await connect_both(server)
    heard: list[bytes] = []
    conn.on("pong", heard.append)
    waiting = asyncio.ensure_future(conn.ping(b"mine"))
    wire.write_frame(PONG, b"other")  # that it lives is no answer
    with pytest.raises(TimeoutError, match=r"expected its pong within 0.2 s \(ping_timeout\)"):
        await waiting
    # It is over: its pong answers nothing any more, and the next ping has a time of its own.
    wire.write_frame(PONG, b"mine")
    await wait_until(lambda: heard == [b"other", b"mine"])
    assert conn.latency is None
    again = conn.ping(b"again")
    wire.write_frame(PONG, b"again")
    await again
    assert conn.ready_state is sockwave.ReadyState.CONNECTED


Ending = Callable[[Wire, sockwave.Connection, sockwave.Server], object]
ENDINGS: dict[str, Ending] = {
    "the client closes": lambda wire, conn, server: wire.write_close(),
    "the client leaves": lambda wire, conn, server: wire.write_eof(),
    "the client resets": lambda wire, conn, server: wire.reset(),
    "the client breaks the protocol": lambda wire, conn, server: wire.write(b"\xff\xff"),
    "we close, and the client is silent": lambda wire, conn, server: conn.close(),
    "we abort": lambda wire, conn, server: conn.abort(),
    "the server closes": lambda wire, conn, server: server.close(),
}


@pytest.mark.parametrize("ping_timeout", [None, 20])
async def test_ping_ends_with_its_connection(
    ping_timeout: float | None, start_server: StartServer
) -> None:
    for name, end in ENDINGS.items():
        with case(name):
            server = await start_server(
                ping_interval=None, ping_timeout=ping_timeout, close_timeout=SOON
            )
            wire, conn = await connect_both(server)
            waiting: list[Awaitable[float]] = [conn.ping(b"1"), conn.ping(b"2")]
            end(wire, conn, server)
            for one in waiting:
                with pytest.raises(sockwave.ConnectionClosed):
                    await one
            with pytest.raises(sockwave.ConnectionClosed):
                conn.ping()


async def test_pings_that_nobody_waits_for_any_more_are_forgotten(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    for i in range(100):
        waiting = asyncio.ensure_future(conn.ping(str(i)))
        waiting.cancel()
        await asyncio.sleep(0)
    heard: list[bytes] = []
    conn.on("pong", heard.append)
    last = conn.ping(b"last")
    wire.write_frame(PONG, b"0")
    await wait_until(lambda: heard == [b"0"])
    assert conn.latency is None
    wire.write_frame(PONG, b"last")
    assert await last == conn.latency
