"""Events and their listeners: who hears of what, how often and in which order."""

import asyncio
import contextlib
import functools

import pytest
from conftest import BothEnds, StartServer
from reference import PING
from wire import (
    connect_both,
    wait_until,
)

import sockwave


class Listener:
    """A callable object and a bound method, both of which may listen."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def __call__(self, message: str) -> None:
        self.calls.append(("called", message))

    def method(self, message: str) -> None:
        self.calls.append(("method", message))

    def nothing(self) -> None:
        self.calls.append(("nothing",))


async def test_listener_gets_as_many_arguments_as_it_takes(start_server: StartServer) -> None:
    server = await start_server()
    calls: list[tuple[object, ...]] = []
    listener = Listener()
    wire, conn = await connect_both(server)

    @conn.on("message")
    def with_default(message: str, extra: str = "default") -> None:
        calls.append((message, extra))

    conn.on("message", lambda: calls.append(()))
    conn.on("message", lambda *everything: calls.append(everything))
    conn.on("message", functools.partial(lambda first, message: calls.append((first, message)), 1))
    conn.on("message", listener)
    conn.on("message", listener.method)
    conn.on("message", listener.nothing)
    ends: list[tuple[object, ...]] = []
    conn.on("close", lambda: ends.append(()))
    conn.on("close", lambda code: ends.append((code,)))
    conn.on("close", lambda code, reason: ends.append((code, reason)))
    wire.send("m")
    wire.write_close(1000, "r")
    await wait_until(lambda: len(ends) == 3)
    assert calls == [("m", "default"), (), ("m",), (1, "m")]
    assert listener.calls == [("called", "m"), ("method", "m"), ("nothing",)]
    assert ends == [(), (1000,), (1000, "r")]
    await wire.close()


async def test_listener_that_wants_too_much_is_refused_when_it_is_added(
    start_server: StartServer,
) -> None:
    server = await start_server()
    with pytest.raises(TypeError, match="connection"):
        server.on("connection", lambda conn, more: None)
    with pytest.raises(TypeError):
        server.on("connection", 5)  # type: ignore[call-overload]


async def test_unknown_event_raises_with_the_nearest_name(start_server: StartServer) -> None:
    server = await start_server()
    with pytest.raises(ValueError, match="connection"):
        server.on("conection", print)
    wire, conn = await connect_both(server)
    with pytest.raises(ValueError, match="message"):
        conn.on("mesage", print)
    await wire.close()


async def test_event_that_is_like_no_other_raises_with_the_names_of_all(
    start_server: StartServer,
) -> None:
    server = await start_server()
    events = (
        "close, closing, connection, error, handshake, listening, publish, readyStateChange, "
        "request, stream, subscribe"
    )
    with pytest.raises(ValueError, match=f"unknown event 'zzzz'; the events here are {events}"):
        server.on("zzzz", print)  # type: ignore[call-overload]


async def test_listeners_run_in_the_order_of_their_addition(start_server: StartServer) -> None:
    server = await start_server()
    order: list[int] = []
    wire, conn = await connect_both(server)
    for i in range(20):
        conn.on("message", functools.partial(lambda number, message: order.append(number), i))
    wire.send("go")
    await wait_until(lambda: len(order) == 20)
    assert order == list(range(20))
    await wire.close()


async def test_once_listens_once_and_off_no_longer(start_server: StartServer) -> None:
    server = await start_server()
    calls: list[str] = []
    wire, conn = await connect_both(server)

    @conn.once("message")
    def once(message: str) -> None:
        calls.append(f"once {message}")

    @conn.on("message")
    def always(message: str) -> None:
        calls.append(f"always {message}")

    async def say(text: str) -> None:
        wire.send(text)
        wire.write_frame(PING, b"")
        await wire.receive_pong()

    await say("a")
    await say("b")
    conn.off("message", always)
    await say("c")
    assert calls == ["once a", "always a", "always b"]
    conn.off("message", always)  # not there: nothing happens
    await wire.close()


async def test_names_of_the_ancestor_are_aliases(start_server: StartServer, engine: str) -> None:
    assert sockwave.createServer is sockwave.create_server
    calls: list[str] = []

    def listener(message: str) -> None:
        calls.append(message)

    server = await start_server()
    wire, conn = await connect_both(server)
    for add in ("on", "add_listener", "addListener"):
        for remove in ("off", "remove_listener", "removeListener"):
            getattr(conn, add)("message", listener)
            wire.send(f"{add} {remove}")
            await wait_until(lambda: calls)
            assert calls == [f"{add} {remove}"]
            getattr(conn, remove)("message", listener)
            wire.send("nobody hears")
            assert await conn.receive() == "nobody hears"
            assert len(calls) == 1
            calls.clear()
    with contextlib.suppress(AttributeError):
        server.addListener("connection", calls.append)
    assert isinstance(sockwave.Server(engine=engine), sockwave.Server)
    await wire.close()


async def test_decorator_gives_the_function_back(start_server: StartServer) -> None:
    server = await start_server()

    def listener(conn: sockwave.Connection) -> None:
        pass

    assert server.on("connection")(listener) is listener
    assert server.once("connection")(listener) is listener
    assert server.add_listener("connection")(listener) is listener


async def test_listener_added_or_removed_by_a_listener_counts_from_the_next_event(
    start_server: StartServer,
) -> None:
    server = await start_server()
    calls: list[str] = []
    wire, conn = await connect_both(server)

    def added(message: str) -> None:
        calls.append(f"added {message}")

    @conn.once("message")
    def adding(message: str) -> None:
        calls.append(f"adding {message}")
        conn.on("message", added)

    @conn.on("message")
    def removing(message: str) -> None:
        calls.append(f"removing {message}")
        conn.off("message", removing)

    wire.send("1")
    wire.send("2")
    await wait_until(lambda: len(calls) == 3)
    assert calls == ["adding 1", "removing 1", "added 2"]
    await wire.close()


async def test_built_in_method_may_listen(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    conn.on("message", conn.send)
    wire.send("back")
    assert await wire.receive_message() == "back"
    await wire.close()


async def test_what_send_returns_may_be_gathered_and_timed(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    await asyncio.gather(conn.send("one"), conn.send("two"))
    await asyncio.wait_for(conn.send("three"), 10)
    assert [await wire.receive_message() for _ in range(3)] == ["one", "two", "three"]
    await wire.close()


async def test_built_in_that_does_not_tell_what_it_takes_gets_everything(
    both_ends: BothEnds,
) -> None:
    wire, conn = both_ends
    letters: set[str] = set()
    conn.on("message", letters.update)
    wire.send("ab")
    await wait_until(lambda: letters)
    assert letters == {"a", "b"}
    await wire.close()


async def test_listener_that_needs_a_keyword_is_refused_when_it_is_added(
    start_server: StartServer,
) -> None:
    server = await start_server()

    def listener(conn: object, *, room: str) -> None: ...

    with pytest.raises(TypeError, match="needs the keyword argument 'room'"):
        server.on("connection", listener)
