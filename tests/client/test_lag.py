"""How old a message is that has just been read: `conn.lag`."""

import asyncio
import socket
import struct
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from certificates import client_context, server_context
from conftest import StartServer, echo
from raw_servers import RawPeer, raw_server
from reference import CLOSE, TEXT
from wire import wait_until

import sockwave

SO_TIMESTAMPNS = 35  # of Linux; Python does not name it

#: For so long the loop is held up, and reads nothing.
HELD_S = 0.1


@pytest.fixture(scope="module", autouse=True)
def stamping_kernel() -> Iterator[None]:
    """Wait until the kernel stamps what comes: it begins some time after the first asks for it.

    Until then it gives the time at which the bytes are read, or none.
    """
    if sys.platform != "linux":
        yield
        return
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as near:
        near.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        near.connect(listening.getsockname())
        with listening.accept()[0] as far:
            stamp_s, read_s = 0.0, 0.0
            while read_s - stamp_s < 0.005:
                far.send(b"x")
                time.sleep(0.01)
                read_s = time.time()
                _, control, *_ = near.recvmsg(1, 64)
                stamp_s = read_s
                for _, _, stamp in control:
                    seconds, nanoseconds = struct.unpack("qq", stamp)
                    stamp_s = seconds + nanoseconds / 1e9
            yield  # one socket that asks for it is enough


def hold_up() -> None:
    time.sleep(HELD_S)  # as an application that computes does


async def test_lag_counts_from_when_the_kernel_has_the_message(engine: str) -> None:
    may_send, has_sent = asyncio.Event(), asyncio.Event()

    async def serve(peer: RawPeer) -> None:
        await peer.open()
        await may_send.wait()
        peer.write_frame(TEXT, b"old")
        hold_up()
        has_sent.set()
        assert await peer.receive_close() == (1000, "")
        peer.write_frame(CLOSE, b"\x03\xe8")

    async with raw_server(serve) as uri, sockwave.connect(uri, engine=engine, lag=True) as conn:
        assert conn.lag is None
        may_send.set()
        await has_sent.wait()
        assert await conn.receive() == "old"
        lag = conn.lag
        assert lag is not None
        # asyncio tells no times of the kernel's: there it counts from when the bytes were read.
        assert lag >= (HELD_S if engine == "epoll" else 0)


async def test_message_that_came_with_the_answer_has_an_age(engine: str) -> None:
    async def serve(peer: RawPeer) -> None:
        await peer.open(b"\x81\x05first")
        assert await peer.receive_close() == (1000, "")
        peer.write_frame(CLOSE, b"\x03\xe8")

    async with raw_server(serve) as uri, sockwave.connect(uri, engine=engine, lag=True) as conn:
        assert await conn.receive() == "first"
        assert conn.lag is not None
        assert 0 <= conn.lag < 30


async def test_lag_is_that_of_the_message_read_last(start_server: StartServer, engine: str) -> None:
    server = await start_server()
    echo(server)
    uri = "ws://{}:{}".format(*server.addresses[0])
    async with sockwave.connect(uri, engine=engine, lag=True, queue_count=1000) as conn:
        for number in range(300):
            conn.send(str(number))
        await conn.ping()  # they have come, and wait
        hold_up()
        conn.send("young")
        await conn.ping()
        for number in range(300):
            assert await conn.receive() == str(number)
            assert conn.lag is not None
            assert conn.lag >= HELD_S
        old = conn.lag
        assert await conn.receive() == "young"
        assert conn.lag is not None
        assert conn.lag < old


async def test_lag_of_what_a_listener_hears(start_server: StartServer, engine: str) -> None:
    server = await start_server()
    echo(server)
    lags: list[float | None] = []
    uri = "ws://{}:{}".format(*server.addresses[0])
    async with sockwave.connect(uri, engine=engine, lag=True) as conn:
        conn.on("message", lambda _: lags.append(conn.lag))
        conn.send("x")
        await wait_until(lambda: lags)
    assert lags[0] is not None
    assert lags[0] >= 0


async def test_lag_of_conflated_messages_is_the_newests(
    start_server: StartServer, engine: str
) -> None:
    server = await start_server()
    echo(server)
    uri = "ws://{}:{}".format(*server.addresses[0])
    connector = sockwave.connect(uri, engine=engine, lag=True, conflate=lambda message: message[0])
    async with connector as conn:
        for message in ("a1", "b1"):
            conn.send(message)
        await conn.ping()
        hold_up()
        conn.send("a2")
        await conn.ping()
        assert await conn.receive() == "a2"
        young = conn.lag
        assert await conn.receive() == "b1"
        assert young is not None
        assert conn.lag is not None
        assert conn.lag >= young + HELD_S / 2


@pytest.mark.parametrize("tls", ["direct", "portable"])
async def test_lag_over_tls(engine: str, tls: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOCKWAVE_TLS", tls)
    server = sockwave.create_server(engine=engine)
    echo(server)
    server.listen(0, "127.0.0.1", ssl=server_context())
    async with server:
        uri = f"wss://localhost:{server.addresses[0][1]}"
        context = client_context()
        async with sockwave.connect(uri, engine=engine, ssl=context, lag=True) as conn:
            for message in ("x", "y" * 300_000):
                conn.send(message)
                assert await conn.receive() == message
                assert conn.lag is not None
                assert 0 <= conn.lag < 30


async def test_without_the_option_nothing_is_measured(
    start_server: StartServer, engine: str
) -> None:
    server = await start_server()
    echo(server)
    uri = "ws://{}:{}".format(*server.addresses[0])
    async with sockwave.connect(uri, engine=engine) as conn:
        conn.send("x")
        await conn.receive()
        assert conn.lag is None


def test_option_is_checked() -> None:
    options: dict[str, Any] = {"lag": 1}
    with pytest.raises(TypeError, match="lag: expected bool, given int"):
        sockwave.connect("ws://a", **options)
