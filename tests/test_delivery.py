"""To whom a message goes: to listeners, or to whoever receives, and what waits for either."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from conftest import BothEnds, ErrorLog, StartServer
from together import together
from wire import connect_both, wait_until

import sockwave

#: What takes messages, as a coroutine or at once.
WAYS: dict[str, Callable[[sockwave.Connection], Any]] = {
    "receive": lambda conn: conn.receive(),
    "receive with a timeout": lambda conn: conn.receive(60),
    "async for": anext,
    "stream": lambda conn: anext(aiter(conn.stream())),
}


def ignore(message: str) -> None:
    """Hear a message."""


async def take_all(conn: sockwave.Connection, messages: list[str | bytes]) -> None:
    """Receive until the end."""
    async for message in conn:
        messages.append(message)  # noqa: PERF401 - seen from outside, one by one


# ---- messages for one of two ---------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
async def test_while_a_listener_is_there_nobody_else_takes_messages(
    both_ends: BothEnds, way: str
) -> None:
    wire, conn = both_ends
    heard: list[str] = []
    conn.on("close", ignore)
    conn.on("message", heard.append)
    with pytest.raises(sockwave.SockwaveError, match="without a listener of 'message'"):
        await WAYS[way](conn)
    wire.send("for the listener")
    await wait_until(lambda: heard)
    conn.off("message", heard.append)
    taking = asyncio.ensure_future(WAYS[way](conn))
    await asyncio.sleep(0)
    wire.send("for the other")
    assert await asyncio.wait_for(taking, 5) == "for the other"
    assert heard == ["for the listener"]


@pytest.mark.parametrize("add", ["on", "once", "add_listener", "addListener", "decorator"])
@pytest.mark.parametrize("way", WAYS)
async def test_while_somebody_waits_for_a_message_no_listener_is_added(
    both_ends: BothEnds, way: str, add: str
) -> None:
    wire, conn = both_ends
    taking = asyncio.ensure_future(WAYS[way](conn))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    with pytest.raises(sockwave.SockwaveError, match="whose messages nobody else takes"):
        conn.on("message")(ignore) if add == "decorator" else getattr(conn, add)("message", ignore)
    assert conn.listeners("message") == []
    wire.send("once")
    assert await asyncio.wait_for(taking, 5) == "once"
    conn.on("message", ignore)


async def test_who_has_been_woken_and_has_not_looked_still_waits(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    raised: list[BaseException] = []

    @conn.on("ping")
    def ping() -> None:  # behind the message, in the same turn
        try:
            conn.on("message", ignore)
        except sockwave.SockwaveError as error:
            raised.append(error)

    taking = asyncio.ensure_future(conn.receive())
    await asyncio.sleep(0)
    wire.write(b"\x81\x81\0\0\0\0m" + b"\x89\x80\0\0\0\0")
    assert await asyncio.wait_for(taking, 5) == "m"
    assert raised
    conn.on("message", ignore)  # nobody waits any more, cancelled ones neither
    conn.off("message", ignore)
    taking = asyncio.ensure_future(conn.receive())
    await asyncio.sleep(0)
    taking.cancel()
    await asyncio.wait([taking])
    conn.on("message", ignore)


@together
@pytest.mark.parametrize("way", WAYS)
async def test_a_handler_that_has_begun_to_take_messages_adds_no_listener(
    start_server: StartServer, error_log: ErrorLog, way: str
) -> None:
    server = await start_server()
    got: list[object] = []

    async def handler(conn: sockwave.Connection) -> None:
        got.append(await WAYS[way](conn))
        conn.on("message", got.append)

    server.handle_with(handler)
    wire, _conn = await connect_both(server)
    wire.send("first")
    assert (await wire.receive_close())[0] == 1011
    (error,) = error_log.take()
    assert isinstance(error, sockwave.SockwaveError)
    assert got == ["first"]


async def test_a_handler_with_a_listener_takes_no_messages(
    start_server: StartServer, error_log: ErrorLog
) -> None:
    server = await start_server()

    async def handler(conn: sockwave.Connection) -> None:
        conn.on("message", ignore)
        async for _ in conn:
            raise AssertionError("expected none")

    server.handle_with(handler)
    wire, _conn = await connect_both(server)
    assert (await wire.receive_close())[0] == 1011
    (error,) = error_log.take()
    assert isinstance(error, sockwave.SockwaveError)


async def test_a_listener_for_once_hears_the_first_and_a_waiting_task_the_rest(
    both_ends: BothEnds,
) -> None:
    wire, conn = both_ends
    first: list[str] = []
    rest: list[str | bytes] = []
    conn.once("message", first.append)
    taking = asyncio.ensure_future(take_all(conn, rest))
    for message in "abc":
        wire.send(message)
    await wire.shake_close()
    await asyncio.wait_for(taking, 5)
    assert (first, rest) == (["a"], ["b", "c"])


async def test_what_was_kept_goes_to_a_listener_for_once_before_anybody_receives(
    both_ends: BothEnds,
) -> None:
    wire, conn = both_ends
    for message in "ab":
        wire.send(message)
    await wire.wait_until_read()
    first: list[str] = []
    conn.once("message", first.append)
    assert await conn.receive() == "b"
    assert first == ["a"]


async def test_a_stream_is_not_begun_where_a_listener_for_once_is_to_hear_the_message(
    both_ends: BothEnds,
) -> None:
    wire, conn = both_ends
    first: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    conn.once("message", first.set_result)
    with pytest.raises(sockwave.SockwaveError, match="expected a connection without a listener"):
        conn.stream()
    wire.send("a")
    assert await first == "a"


async def test_after_a_listener_for_once_the_rest_is_received(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    first: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    conn.once("message", first.set_result)
    for message in "abc":
        wire.send(message)
    assert await first == "a"
    rest: list[str | bytes] = []
    taking = asyncio.ensure_future(take_all(conn, rest))
    await wire.shake_close()
    await asyncio.wait_for(taking, 5)
    assert rest == ["b", "c"]


async def test_all_listeners_hear_a_message(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    heard: list[tuple[int, str]] = []
    for number in range(3):
        conn.on("message", lambda message, number=number: heard.append((number, message)))
    conn.once("message", lambda message: heard.append((3, message)))
    wire.send("a")
    wire.send("b")
    await wire.wait_until_read()
    assert heard == [(0, "a"), (1, "a"), (2, "a"), (3, "a"), (0, "b"), (1, "b"), (2, "b")]


async def test_what_comes_while_nobody_is_there_between_two_waits_for_the_second(
    start_server: StartServer,
) -> None:
    server = await start_server(queue_count=4)
    wire, conn = await connect_both(server)
    heard: list[str] = []
    conn.on("message", heard.append)
    wire.send("0")
    await wait_until(lambda: heard)
    conn.off("message", heard.append)
    for number in range(1, 20):
        wire.send(str(number))
    await wait_until(lambda: server.limit_hits["queue_count"])
    received = [await conn.receive() for _ in range(10)]
    await wait_until(lambda: server.limit_hits["queue_count"] > 1)
    conn.on("message", heard.append)
    await wire.wait_until_read()
    assert received == [str(number) for number in range(1, 11)]
    assert heard == ["0", *(str(number) for number in range(11, 20))]
    assert conn.dropped_count == 0


async def test_a_stream_that_is_left_early_does_not_keep_listeners_away(
    both_ends: BothEnds,
) -> None:
    wire, conn = both_ends
    heard: list[str] = []
    wire.write_frame(1, b"be", fin=False)
    async for chunk in conn.stream():
        assert chunk == "be"
        break
    conn.on("message", heard.append)
    wire.write_frame(0, b"gun", fin=True)
    wire.send("next")
    await wait_until(lambda: heard)
    assert heard == ["next"]


async def test_after_the_end_receive_raises_that_it_is_closed(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    raised: list[BaseException] = []
    conn.on("message", ignore)

    @conn.on("close")
    async def closed() -> None:
        try:
            await conn.receive()
        except sockwave.SockwaveError as error:
            raised.append(error)

    await wire.shake_close()
    await wait_until(lambda: raised)
    assert isinstance(raised[0], sockwave.ConnectionClosed)


async def test_no_more_calls_are_begun_for_what_was_kept_than_may_run(
    start_server: StartServer,
) -> None:
    server = await start_server(max_tasks=2)
    wire, conn = await connect_both(server)
    begun: list[str] = []
    running: list[asyncio.Event] = []

    async def work(message: str) -> None:
        begun.append(message)
        event = asyncio.Event()
        running.append(event)
        await event.wait()

    for number in range(9):
        wire.send(str(number))
    await wire.wait_until_read()
    conn.on("message", work)
    for number in range(9):
        await wait_until(lambda number=number: len(begun) == min(number + 2, 9))
        assert len(running) <= 2
        running.pop(0).set()
    assert begun == [str(number) for number in range(9)]
