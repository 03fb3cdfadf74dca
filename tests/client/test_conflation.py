"""A client that falls behind shows the present: of messages not yet read, the newest per key."""

from typing import Any

import pytest
from conftest import StartServer
from wire import case, wait_until

import sockwave


async def connect_to_ticker(
    start_server: StartServer, engine: str, ticks: list[str], **options: Any
) -> sockwave.ClientConnection:
    """Connect to a server that sends all ticks, and wait until they have come."""
    server = await start_server()
    pongs: list[bytes] = []

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        for tick in ticks:
            conn.send(tick)
        conn.on("message", conn.send)

    uri = "ws://{}:{}".format(*server.addresses[0])
    conn = await sockwave.connect(uri, engine=engine, **options)
    await conn.ping()
    assert not pongs
    return conn


def symbol(message: str | bytes) -> str:
    assert isinstance(message, str)
    return message.split("=")[0]


TICKS = ["a=1", "b=1", "a=2", "c=1", "a=3", "b=2", "a=4"]


async def test_newest_per_key_is_kept_in_the_place_of_the_oldest(
    start_server: StartServer, engine: str
) -> None:
    conn = await connect_to_ticker(start_server, engine, TICKS, conflate=symbol)
    assert [await conn.receive() for _ in range(3)] == ["a=4", "b=2", "c=1"]
    assert conn.dropped_count == 4
    # What has been read is the past: a message that comes now stands for itself.
    for message in ("a=5", "a=6", "c=2"):
        conn.send(message)
    await conn.ping()
    assert [await conn.receive() for _ in range(2)] == ["a=6", "c=2"]
    conn.send("a=7")
    assert await conn.receive() == "a=7"
    conn.close()
    await conn.wait_closed()


async def test_one_key_for_all(start_server: StartServer, engine: str) -> None:
    ticks = [str(number) for number in range(10_000)]
    conn = await connect_to_ticker(
        start_server, engine, ticks, conflate=lambda message: None, queue_count=1000
    )
    last = await conn.receive()
    while last != "9999":
        last = await conn.receive()
    assert conn.dropped_count >= 9000
    conn.close()
    await conn.wait_closed()


async def test_more_keys_than_ever_wait(start_server: StartServer, engine: str) -> None:
    ticks = [f"{number % 700}={number}" for number in range(7000)]
    conn = await connect_to_ticker(start_server, engine, ticks, conflate=symbol, queue_count=1000)
    latest = {}
    while len(latest) < 700 or any(value < 6300 for value in latest.values()):
        name, _, value = str(await conn.receive()).partition("=")
        assert latest.get(name, -1) < int(value)
        latest[name] = int(value)
    conn.close()
    await conn.wait_closed()


async def test_listener_gets_all_messages(start_server: StartServer, engine: str) -> None:
    heard: list[str] = []
    server = await start_server()

    @server.on("connection")
    async def connected(conn: sockwave.Connection) -> None:
        await conn.receive()
        for tick in TICKS:
            conn.send(tick)

    uri = "ws://{}:{}".format(*server.addresses[0])
    async with sockwave.connect(uri, engine=engine, conflate=symbol) as conn:
        conn.on("message", heard.append)
        conn.send("go")
        await wait_until(lambda: len(heard) == len(TICKS))
    assert heard == TICKS


async def test_listener_added_late_gets_the_present(start_server: StartServer, engine: str) -> None:
    conn = await connect_to_ticker(start_server, engine, TICKS, conflate=symbol)
    heard: list[str] = []
    conn.on("message", heard.append)
    await wait_until(lambda: len(heard) == 3)
    assert heard == ["a=4", "b=2", "c=1"]
    conn.close()
    await conn.wait_closed()


@pytest.mark.parametrize("key", [lambda message: 1 / 0, lambda message: []])
async def test_key_that_fails_closes_the_connection(
    start_server: StartServer, engine: str, key: Any, error_log: Any
) -> None:
    server = await start_server()
    server.on("connection", lambda conn: [conn.send(tick) for tick in TICKS] and None)
    uri = "ws://{}:{}".format(*server.addresses[0])
    conn = await sockwave.connect(uri, engine=engine, conflate=key)
    await wait_until(lambda: conn.close_code is not None)
    assert conn.close_code == 1011
    assert {type(error) for error in error_log.take()} <= {ZeroDivisionError, TypeError}


def test_option_is_checked() -> None:
    for key in (True, "a", 3):
        with case(key), pytest.raises(TypeError, match="conflate: expected a function"):
            sockwave.connect("ws://a", conflate=key)
    with pytest.raises(TypeError, match="conflate: expected a plain function"):
        sockwave.connect("ws://a", conflate=_later)


async def _later(message: object) -> None: ...
