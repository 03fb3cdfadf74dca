"""Messages that the application takes: `receive`, and `async for`."""

import asyncio

import pytest
import reference
from conftest import BothEnds, StartServer
from reference import PING, TEXT, Frame
from wire import (
    Wire,
    connect_both,
    let_arrive,
    wait_until,
)

import sockwave


async def test_async_for_gives_every_message_and_ends_with_the_connection(
    both_ends: BothEnds,
) -> None:
    wire, conn = both_ends

    async def consume() -> list[str | bytes]:
        return [message async for message in conn]

    consuming = asyncio.create_task(consume())
    await asyncio.sleep(0)
    for message in ("a", b"b", "", "d"):
        wire.send(message)
    await wire.shake_close()
    assert await asyncio.wait_for(consuming, 5) == ["a", b"b", "", "d"]
    await wire.close()


async def test_async_for_ends_quietly_when_the_client_vanishes(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    got: list[object] = []

    async def consume() -> None:
        async for message in conn:
            got.append(message)  # noqa: PERF401 - seen from outside, one by one

    consuming = asyncio.create_task(consume())
    await asyncio.sleep(0)
    wire.send("last")
    await wait_until(lambda: got)
    wire.reset()
    await asyncio.wait_for(consuming, 5)
    assert got == ["last"]


async def test_receive_gives_one_message_and_times_out(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    with pytest.raises(TimeoutError):
        await conn.receive(timeout=0.02)
    wire.send("one")
    assert await conn.receive(timeout=5) == "one"
    wire.send("two")
    wire.send("three")
    assert await conn.receive() == "two"
    assert await conn.receive() == "three"
    with pytest.raises(TimeoutError):
        await conn.receive(timeout=0)
    await wire.close()


async def test_cancelled_receive_loses_no_message(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    for i in range(20):
        waiting = asyncio.create_task(conn.receive())
        await asyncio.sleep(0)
        wire.send(f"{i}")
        if i % 2:
            await asyncio.sleep(0.002)
        waiting.cancel()
        try:
            assert await waiting == f"{i}"
        except asyncio.CancelledError:
            assert await conn.receive(timeout=5) == f"{i}"
    await wire.close()


async def test_receiver_that_is_cancelled_passes_its_turn_on(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    first = asyncio.create_task(conn.receive())
    second = asyncio.create_task(conn.receive())
    await asyncio.sleep(0)

    @conn.on("ping")
    def ping() -> None:
        first.cancel()  # it has been woken, and has not run yet

    wire.write(
        reference.serialize(Frame(TEXT, b"for one of them"))
        + reference.serialize(Frame(PING, b"cancel"))
    )
    assert await asyncio.wait_for(second, 5) == "for one of them"
    with pytest.raises(asyncio.CancelledError):
        await first
    await wire.close()


async def test_first_message_may_be_received_and_the_rest_listened_to(
    both_ends: BothEnds,
) -> None:
    wire, conn = both_ends
    heard: list[str] = []
    first = asyncio.create_task(conn.receive())
    await asyncio.sleep(0)
    wire.send("password")
    assert await first == "password"
    conn.on("message", heard.append)
    for i in range(200):
        wire.send(f"{i}")
    await wait_until(lambda: len(heard) == 200)
    assert heard == [str(i) for i in range(200)]
    await wire.shake_close()
    await wire.close()


@pytest.mark.parametrize("count", [1, 15, 100])
async def test_messages_that_wait_go_to_a_listener_that_comes_late(
    both_ends: BothEnds, count: int
) -> None:
    wire, conn = both_ends
    heard: list[str] = []
    first = asyncio.create_task(conn.receive())
    await asyncio.sleep(0)
    wire.send("password")
    for i in range(count):
        wire.send(f"{i}")
    assert await first == "password"
    await let_arrive()
    conn.on("message", heard.append)
    wire.send("last")
    await wait_until(lambda: heard[-1:] == ["last"])
    assert heard == [*map(str, range(count)), "last"]
    await wire.shake_close()
    await wire.close()


async def test_task_of_the_applications_own_misses_no_message(start_server: StartServer) -> None:
    server = await start_server()
    got: list[str | bytes] = []
    tasks: list[asyncio.Task[None]] = []

    async def consume(conn: sockwave.Connection) -> None:
        async for message in conn:
            got.append(message)  # noqa: PERF401 - seen from outside, one by one

    server.on("connection", lambda conn: tasks.append(asyncio.create_task(consume(conn))))
    behind = b"".join(reference.serialize(Frame(TEXT, b"%d" % i)) for i in range(1000))
    wire = await Wire.connect(server.addresses[0], behind=behind)
    await wire.shake_close()
    await asyncio.wait_for(tasks[0], 5)
    assert got == [str(i) for i in range(1000)]
    await wire.close()


async def test_receive_after_the_end_raises_connection_closed(start_server: StartServer) -> None:
    server = await start_server()
    wire, conn = await connect_both(server)
    waiting = asyncio.create_task(conn.receive())
    await asyncio.sleep(0)
    wire.write_close(3005, "enough")
    with pytest.raises(sockwave.ConnectionClosed) as raised:
        await asyncio.wait_for(waiting, 5)
    assert (raised.value.code, raised.value.reason) == (3005, "enough")
    await wait_until(lambda: not server.connections)
    with pytest.raises(sockwave.ConnectionClosed):
        await conn.receive()
    await wire.close()
