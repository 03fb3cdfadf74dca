"""Events, listeners, states and errors, from the first connection to the last (API contract)."""

import asyncio
import contextlib
import functools
import gc
import logging
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import reference
from conftest import BothEnds, ErrorLog, StartServer, echo
from reference import BINARY, INTERNAL_ERROR, PING, PONG, TEXT, Frame
from wire import (
    Wire,
    build_request,
    connect_both,
    count_descriptors,
    count_turns,
    let_arrive,
    measure_resident_size,
    upgrade_headers,
    wait_until,
)

import sockwave
from sockwave import ReadyState


async def assert_echoes(server: sockwave.Server) -> None:
    """Check that a new client is served as ever."""
    wire, conn = await connect_both(server)
    conn.on("message", conn.send)
    wire.send("as ever")
    while (message := await wire.receive_message()) != "as ever":
        assert message == "from a listener"
    await wire.close()


# ---- listening -----------------------------------------------------------------------------------


async def test_listening_event_comes_after_listen(engine: str) -> None:
    server = sockwave.create_server(engine=engine)
    told: list[object] = []
    server.on("listening", lambda: told.append(server.addresses))
    server.listen(0, "127.0.0.1")
    async with server:
        await wait_until(lambda: told)
        assert len(told) == 1
        (host, port) = server.addresses[0]
        assert host == "127.0.0.1"
        assert port > 0


async def test_port_in_use_raises_in_listen_and_names_the_address(
    start_server: StartServer, engine: str
) -> None:
    first = await start_server()
    host, port = first.addresses[0]
    second = sockwave.create_server(engine=engine)
    with pytest.raises(OSError, match=re.escape(f"{host}:{port}")):
        second.listen(port, host)
    await assert_echoes(first)


async def test_server_listens_at_several_addresses(start_server: StartServer) -> None:
    server = await start_server()
    server.listen(0, "127.0.0.1")
    assert len(set(server.addresses)) == 2
    for address in server.addresses:
        wire = await Wire.connect(address)
        await wire.close()


async def test_server_listens_at_a_unix_socket(start_server: StartServer, tmp_path: Path) -> None:
    server = await start_server()
    path = tmp_path / "socket"
    server.listen(0, path=str(path))
    echo(server)
    assert str(path) in [str(address) for address in server.addresses]
    wire = await Wire.connect(path)
    wire.send("by file")
    assert await wire.receive_message() == "by file"
    await wire.close()


async def test_server_listens_at_a_socket_made_elsewhere(engine: str, error_log: ErrorLog) -> None:
    sock = socket.create_server(("127.0.0.1", 0))
    server = sockwave.create_server(engine=engine)
    server.listen(0, sock=sock)
    async with server:
        assert server.addresses == [sock.getsockname()]
        await assert_echoes(server)
    assert not error_log.records


async def test_without_a_host_all_interfaces_are_listened_at(engine: str) -> None:
    server = sockwave.create_server(engine=engine)
    server.listen(0)
    async with server:
        port = server.addresses[0][1]
        wire = await Wire.connect(("127.0.0.1", port))
        await wire.close()


async def test_stream_event_sees_a_connection_before_any_byte(start_server: StartServer) -> None:
    server = await start_server()
    streams: list[Any] = []
    server.on("stream", streams.append)
    wire = await Wire.open(server.addresses[0])
    await wait_until(lambda: streams)
    assert tuple(streams[0].remote_address) == wire.writer.get_extra_info("sockname")
    wire.write(build_request({"Host": "x"}))
    assert (await wire.receive_head()).status == 426
    await wire.close()


async def test_stream_listener_may_turn_a_peer_away(start_server: StartServer) -> None:
    server = await start_server()
    server.once("stream", lambda stream: stream.close())
    wire = await Wire.open(server.addresses[0])
    await wire.receive_end()
    await wire.close()
    await assert_echoes(server)


# ---- ways to run ---------------------------------------------------------------------------------


async def test_serve_runs_an_async_function_for_each_connection(
    engine: str, error_log: ErrorLog
) -> None:
    async def chat(conn: sockwave.Connection) -> None:
        async for message in conn:
            await conn.send(message)

    async with sockwave.serve(chat, "127.0.0.1", 0, engine=engine) as server:
        serving = asyncio.create_task(server.serve_forever())
        wire = await Wire.connect(server.addresses[0])
        for message in ("a", b"b", "c" * 100_000):
            wire.send(message)
            assert await wire.receive_message() == message
        await wire.shake_close()
        await wire.close()
        assert not serving.done()
    await asyncio.wait_for(serving, 5)
    assert not error_log.records


async def test_serve_forever_ends_with_the_server(engine: str) -> None:
    server = sockwave.create_server(engine=engine)
    server.listen(0, "127.0.0.1")
    serving = asyncio.create_task(server.serve_forever())
    await let_arrive()
    await assert_echoes(server)
    await server.close()
    await asyncio.wait_for(serving, 5)


async def test_cancelled_serve_forever_closes_the_server(engine: str) -> None:
    server = sockwave.create_server(engine=engine)
    server.listen(0, "127.0.0.1")
    address = server.addresses[0]
    serving = asyncio.create_task(server.serve_forever())
    await let_arrive()
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    await server.close(drain=0)
    with pytest.raises(ConnectionRefusedError):
        await Wire.open(address)


RUN_PROGRAM = """
import sys
import sockwave

server = sockwave.create_server(engine=sys.argv[1])
server.on("connection", lambda conn: conn.on("message", conn.send))
server.on("close", lambda errno: print("closed", errno, flush=True))
server.listen(0, "127.0.0.1")
print(server.addresses[0][1], flush=True)
server.run()
print("over", flush=True)
"""


EXIT_PROGRAM = """
import sys
import sockwave

server = sockwave.create_server(engine=sys.argv[1])
conns = []
server.on("connection", conns.append)
server.on("connection", lambda conn: conn.on(sys.argv[2], leave))

@server.on("request")
def leave(*_):
    sys.exit(7)

server.listen(0, "127.0.0.1")
print(server.addresses[0][1], flush=True)
server.run()
"""


@pytest.mark.parametrize("event", ["message", "close", "request"])
@pytest.mark.slow
async def test_a_listener_may_end_the_program(engine: str, event: str) -> None:
    heard = "message" if event == "request" else event
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", EXIT_PROGRAM, engine, heard),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        address = "127.0.0.1", int(await asyncio.wait_for(process.stdout.readline(), 20))
        if event == "request":
            wire = await Wire.open(address)
            wire.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        else:
            wire = await Wire.connect(address)
            wire.send("leave")
        if event == "close":
            await wire.close()
        assert await asyncio.wait_for(process.wait(), 20) == 7
        await wire.close()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_run_serves_until_a_signal_closes_it(engine: str, number: signal.Signals) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", RUN_PROGRAM, engine),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        port = int(await asyncio.wait_for(process.stdout.readline(), 20))
        wire = await Wire.connect(("127.0.0.1", port))
        for i in range(10):
            wire.send(f"{i}")
            assert await wire.receive_message() == f"{i}"
        process.send_signal(number)
        assert (await wire.receive_close())[0] == 1001
        wire.write_close(1001)
        await wire.receive_end()
        await wire.close()
        out, err = await asyncio.wait_for(process.communicate(), 10)
        assert out.split(b"\n") == [b"closed None", b"over", b""]
        assert err == b""
        assert process.returncode == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


# ---- the connection's members --------------------------------------------------------------------


async def test_connection_tells_who_and_where(start_server: StartServer) -> None:
    server = await start_server()
    wire, conn = await connect_both(server)
    assert conn.version == "rfc6455"
    assert conn.carrier == "http/1.1"
    assert conn.subprotocol is None
    assert conn.remote_address == wire.writer.get_extra_info("sockname")
    assert conn.local_address == server.addresses[0]
    assert conn.request.path == "/"
    assert conn.latency is None
    assert conn.close_code is None
    assert conn.close_reason is None
    assert str(conn.id).isprintable()
    assert " " not in str(conn.id)
    await wire.close()


async def test_data_is_a_dict_of_the_applications_own(start_server: StartServer) -> None:
    server = await start_server()
    one, first = await connect_both(server)
    two, second = await connect_both(server)
    assert first.data == {}
    first.data["name"] = "first"
    assert first.data == {"name": "first"}
    assert second.data == {}
    await one.close()
    await two.close()


async def test_ids_are_unique_and_never_used_again(start_server: StartServer) -> None:
    servers = [await start_server(), await start_server()]
    seen: list[object] = []
    for _ in range(20):
        for server in servers:
            wire, conn = await connect_both(server)
            seen.append(conn.id)
            await wire.close()
    assert len(set(seen)) == 40


async def test_connections_is_a_live_view(start_server: StartServer) -> None:
    server = await start_server()
    view = server.connections
    assert len(view) == 0
    assert list(view) == []
    one, first = await connect_both(server)
    two, second = await connect_both(server)
    assert len(view) == 2
    assert set(view) == {first, second}
    assert view[first.id] is first
    assert view[second.id] is second
    assert first in view
    await one.shake_close()
    await one.close()
    await wait_until(lambda: len(view) == 1)
    assert list(view) == [second]
    with pytest.raises(KeyError):
        view[first.id]
    await two.close()
    await wait_until(lambda: len(view) == 0)
    assert not view


async def test_connections_is_a_live_view_from_before_the_start(engine: str) -> None:
    server = sockwave.create_server(engine=engine)
    view = server.connections
    assert len(view) == 0
    server.listen(0, "127.0.0.1")
    async with server:
        wire, conn = await connect_both(server)
        assert list(view) == [conn]
        assert view[conn.id] is conn
        await wire.close()
        await wait_until(lambda: not view)


async def test_connections_may_go_while_they_are_listed(start_server: StartServer) -> None:
    server = await start_server()
    wires = [await Wire.connect(server.addresses[0]) for _ in range(10)]
    await wait_until(lambda: len(server.connections) == 10)
    for conn in server.connections:
        conn.abort()
    await wait_until(lambda: not server.connections)
    for wire in wires:
        await wire.receive_end()
        await wire.close()


async def test_ready_states_are_the_ancestors_numbers() -> None:
    assert [(state.name, int(state)) for state in ReadyState] == [
        ("UNKNOWN", 0),
        ("OPENING", 1),
        ("WAITING", 2),
        ("HANDSHAKING", 3),
        ("CONNECTED", 4),
        ("CLOSED", 5),
    ]


async def test_states_change_in_order_on_server_and_connection(start_server: StartServer) -> None:
    server = await start_server()
    seen: list[tuple[str, object]] = []
    server.on("readyStateChange", lambda conn, state: seen.append(("server", state)))

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        seen.append(("connection", conn.ready_state))
        conn.on("readyStateChange", lambda state: seen.append(("conn", state)))
        conn.on("close", lambda: seen.append(("close", conn.ready_state)))

    wire = await Wire.connect(server.addresses[0])
    await wire.shake_close()
    await wire.close()
    await wait_until(lambda: seen[-1][0] == "close")
    assert [entry for entry in seen if entry[0] != "conn"] == [
        ("server", ReadyState.OPENING),
        ("server", ReadyState.HANDSHAKING),
        ("server", ReadyState.CONNECTED),
        ("connection", ReadyState.CONNECTED),
        ("server", ReadyState.CLOSED),
        ("close", ReadyState.CLOSED),
    ]
    assert [entry[1] for entry in seen if entry[0] == "conn"] == [ReadyState.CLOSED]
    assert all(isinstance(entry[1], ReadyState) for entry in seen)


# ---- listeners -----------------------------------------------------------------------------------


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
    events = "close, connection, error, handshake, listening, readyStateChange, request, stream"
    with pytest.raises(ValueError, match=f"unknown event 'message'; the events here are {events}"):
        server.on("message", print)  # type: ignore[call-overload]


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


# ---- async listeners -----------------------------------------------------------------------------


async def test_async_listener_becomes_a_task_for_each_call(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    running: list[str] = []
    release = asyncio.Event()

    @conn.on("message")
    async def message(message: str) -> None:
        running.append(message)
        await release.wait()
        await conn.send(f"done {message}")

    for text in ("a", "b", "c"):
        wire.send(text)
    await wait_until(lambda: len(running) == 3)
    assert running == ["a", "b", "c"]
    gc.collect()  # nobody but the connection holds the tasks
    release.set()
    assert [await wire.receive_message() for _ in range(3)] == ["done a", "done b", "done c"]
    await wire.close()


async def test_async_listener_is_cancelled_some_time_after_its_connection_has_gone(
    start_server: StartServer,
) -> None:
    wire, conn = await connect_both(await start_server(finish_timeout=0.1))
    ends: list[str] = []
    started = asyncio.Event()

    @conn.on("message")
    async def message(message: str) -> None:
        started.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    wire.send("go")
    await asyncio.wait_for(started.wait(), 5)
    await wire.close()
    await wait_until(lambda: ends)
    assert ends == ["cancelled"]


async def test_async_close_listener_runs_to_its_end(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    ends: list[int] = []

    @conn.on("close")
    async def closed(code: int) -> None:
        await asyncio.sleep(0.02)
        ends.append(code)

    await wire.shake_close()
    await wire.close()
    await wait_until(lambda: ends)
    assert ends == [1000]


async def test_async_listener_that_raises_is_an_error_like_any_other(
    start_server: StartServer,
) -> None:
    server = await start_server()
    errors: list[tuple[BaseException, object]] = []
    server.on("error", lambda error, conn: errors.append((error, conn)))
    wire, conn = await connect_both(server)

    @conn.on("message")
    async def message(message: str) -> None:
        await asyncio.sleep(0)
        raise RuntimeError(message)

    wire.send("deliberate")
    await wire.expect_failure(INTERNAL_ERROR)
    assert [(str(error), culprit) for error, culprit in errors] == [("deliberate", conn)]
    await wire.close()


async def test_async_connection_listener_that_raises_costs_its_connection(
    start_server: StartServer,
) -> None:
    server = await start_server()
    errors: list[tuple[BaseException, object]] = []
    server.on("error", lambda error, conn: errors.append((error, conn)))
    accepted: list[sockwave.Connection] = []

    @server.on("connection")
    async def connected(conn: sockwave.Connection) -> None:
        accepted.append(conn)
        async for _ in conn:
            raise RuntimeError("deliberate")

    wire = await Wire.connect(server.addresses[0])
    wire.send("go")
    await wire.expect_failure(INTERNAL_ERROR)
    assert [(str(error), culprit) for error, culprit in errors] == [("deliberate", accepted[0])]
    await wire.close()


async def test_handler_of_serve_that_raises_costs_its_connection(
    engine: str, error_log: ErrorLog
) -> None:
    async def handler(conn: sockwave.Connection) -> None:
        if await conn.receive() == "raise":
            raise RuntimeError("deliberate")

    async with sockwave.serve(handler, "127.0.0.1", 0, engine=engine) as server:
        for word, code in (("raise", INTERNAL_ERROR), ("return", 1000), ("raise", INTERNAL_ERROR)):
            wire = await Wire.connect(server.addresses[0])
            wire.send(word)
            await wire.expect_failure(code)
            await wire.close()
    assert [str(error) for error in error_log.take()] == ["deliberate"] * 2


async def generate(conn: sockwave.Connection) -> AsyncIterator[None]:
    yield


async def take_two(conn: sockwave.Connection, other: object) -> None:
    pass


@pytest.mark.parametrize("handler", [5, "handler", generate, take_two, asyncio.Event])
def test_handler_of_serve_that_cannot_take_a_connection_is_refused_at_once(handler: Any) -> None:
    with pytest.raises(TypeError, match="expected an async function of one connection, given"):
        sockwave.serve(handler)


# ---- messages to take ----------------------------------------------------------------------------


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


# ---- broadcasts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("message", ["", "text", "größer", b"bytes", "x" * 70_000])
async def test_broadcast_reaches_everybody_and_counts_them(
    start_server: StartServer, message: str | bytes
) -> None:
    server = await start_server()
    assert server.broadcast(message) == 0
    wires = [await Wire.connect(server.addresses[0]) for _ in range(7)]
    await wait_until(lambda: len(server.connections) == 7)
    assert server.broadcast(message) == 7
    for wire in wires:
        assert await wire.receive_message() == message
    await wires[0].shake_close()
    await wait_until(lambda: len(server.connections) == 6)
    assert server.broadcast(message) == 6
    for wire in wires[1:]:
        assert await wire.receive_message() == message
    for wire in wires:
        await wire.close()


async def test_broadcast_of_a_connection_leaves_itself_out(start_server: StartServer) -> None:
    server = await start_server()
    one, first = await connect_both(server)
    two, _ = await connect_both(server)
    three, _ = await connect_both(server)
    assert first.broadcast("from the first") == 2
    assert await two.receive_message() == "from the first"
    assert await three.receive_message() == "from the first"
    await one.receive_nothing()
    for wire in (one, two, three):
        await wire.close()


async def test_broadcast_keeps_its_order_among_sends(start_server: StartServer) -> None:
    server = await start_server()
    wire, conn = await connect_both(server)
    for i in range(50):
        conn.send(f"send {i}")
        server.broadcast(f"broadcast {i}")
    for i in range(50):
        assert await wire.receive_message() == f"send {i}"
        assert await wire.receive_message() == f"broadcast {i}"
    await wire.close()


async def test_broadcast_leaves_out_those_who_are_closing(start_server: StartServer) -> None:
    server = await start_server()
    one, first = await connect_both(server)
    two, _ = await connect_both(server)
    first.close()
    assert server.broadcast("for the other") == 1
    assert await two.receive_message() == "for the other"
    assert (await one.receive_close())[0] == 1000
    await one.receive_nothing()
    await one.close()
    await two.close()


async def test_wrong_broadcast_raises_whoever_listens(start_server: StartServer) -> None:
    server = await start_server()
    for clients in (0, 1):
        for wrong in (1.5, 5, None, ["list"], object()):
            with pytest.raises(TypeError, match=type(wrong).__name__):
                server.broadcast(wrong)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="surrogate"):
            server.broadcast("\udc80")
        if not clients:
            wire, _ = await connect_both(server)
    await wire.receive_nothing()
    await wire.close()


# ---- what the application did wrong --------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [1.5, 5, None, True, ["list"], {"a": 1}, object()],
    ids=lambda wrong: type(wrong).__name__,
)
async def test_sending_a_wrong_type_raises_and_sends_nothing(
    both_ends: BothEnds, wrong: Any
) -> None:
    wire, conn = both_ends
    for call in (conn.send, conn.write, conn.broadcast):
        with pytest.raises(TypeError, match=type(wrong).__name__):
            call(wrong)
    conn.send("right")
    assert await wire.receive_message() == "right"
    await wire.close()


@pytest.mark.parametrize(
    "text", ["\ud800", "a\udfffb", "🌊\udc80", "x" * 70_000 + "\ud83d"], ids=len
)
async def test_sending_a_lone_surrogate_raises_and_sends_nothing(
    both_ends: BothEnds, text: str
) -> None:
    wire, conn = both_ends
    with pytest.raises(ValueError, match="surrogate"):
        conn.send(text)
    conn.send("right")
    assert await wire.receive_message() == "right"
    await wire.close()


async def test_unknown_option_raises_with_the_nearest_name() -> None:
    with pytest.raises(TypeError, match=r"'orign'.*'origin'"):
        sockwave.create_server(orign="*")
    with pytest.raises(TypeError, match="max_size"):
        sockwave.create_server(maxsize=5)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"max_size": "large"}, TypeError),
        ({"max_size": -1}, ValueError),
        ({"max_size": 1.5}, TypeError),
        ({"close_timeout": -1}, ValueError),
        ({"close_timeout": "10"}, TypeError),
        ({"engine": "kqueue"}, ValueError),
        ({"version": "hybi-03"}, ValueError),
        ({"version": 13}, TypeError),
        ({"origin": 5}, TypeError),
        ({"subprotocol": "not a token"}, ValueError),
        ({"queue_count": 0}, ValueError),
    ],
    ids=repr,
)
async def test_wrong_option_raises_and_names_itself(
    options: dict[str, object], expected: type[Exception]
) -> None:
    with pytest.raises(expected, match=next(iter(options))):
        sockwave.create_server(**options)


async def test_header_with_a_line_break_raises_and_sends_nothing(
    start_server: StartServer,
) -> None:
    server = await start_server()
    raised: list[Exception] = []

    @server.on("request")
    def request(req: Any, res: Any) -> None:
        for name, value in (("X-Split", "a\r\nb: c"), ("X\r\nY", "z"), ("X-Nul", "\0")):
            with pytest.raises(ValueError) as error:  # noqa: PT011 - the message is the reader's
                res.write_head(200, {name: value})
            raised.append(error.value)
        res.end("fine")

    wire = await Wire.open(server.addresses[0])
    wire.write(build_request({"Host": "x", "Connection": "close"}))
    head = await wire.receive_head()
    assert head.status == 200
    assert "b" not in head.headers
    assert await wire.receive_rest() == b"fine"
    assert len(raised) == 3
    await wire.close()


async def test_errors_are_all_of_one_family() -> None:
    for error in (sockwave.ConnectionClosed, sockwave.Refused):
        assert issubclass(error, sockwave.SockwaveError)
    assert issubclass(sockwave.SockwaveError, Exception)
    assert not issubclass(sockwave.SockwaveError, OSError | ValueError)


# ---- what the peer did wrong ---------------------------------------------------------------------

WRONG_BYTES = {
    "reserved bits": b"\xf1\x80\0\0\0\0",
    "not UTF-8": reference.serialize(Frame(TEXT, b"\xff")),
    "too big": reference.serialize_header(Frame(BINARY), 2**40),
    "not masked": b"\x81\x01a",
    "close of one byte": reference.serialize(Frame(reference.CLOSE, b"\x03")),
}


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


# ---- listeners that raise, close or abort --------------------------------------------------------

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


# ---- a thousand connects and disconnects ---------------------------------------------------------


async def churn(server: sockwave.Server, count: int) -> None:
    """Connect and disconnect so many clients, each in one of four ways, ten at a time."""

    async def visit(number: int) -> None:
        wire = await Wire.connect(server.addresses[0])
        wire.send(f"{number}")
        assert await wire.receive_message() == f"{number}"
        match number % 4:
            case 0:
                await wire.shake_close()
            case 1:
                wire.write(reference.serialize_header(Frame(BINARY), 1000) + b"half")
            case 2:
                wire.reset()
            case 3:
                wire.write(b"\xff\xff")
                await wire.expect_failure(reference.PROTOCOL_ERROR)
        await wire.close()

    for start in range(0, count, 10):
        await asyncio.gather(*(visit(start + i) for i in range(10)))
    await wait_until(lambda: not server.connections)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the memory")
@pytest.mark.slow
async def test_a_thousand_clients_come_and_go_and_leave_nothing_behind(
    echo_server: sockwave.Server,
) -> None:
    await churn(echo_server, 200)
    gc.collect()
    descriptors, memory = count_descriptors(), measure_resident_size()
    await churn(echo_server, 1000)
    await wait_until(lambda: count_descriptors() <= descriptors, "the descriptors")
    gc.collect()
    assert len(echo_server.connections) == 0
    assert measure_resident_size() - memory < 3 * 2**20  # 1000 leaked connections would be more
    await assert_echoes(echo_server)


@pytest.mark.slow
async def test_connections_that_have_gone_are_not_kept_alive(start_server: StartServer) -> None:
    server = await start_server()
    echo(server)
    ids = set()
    for _ in range(5):
        wire, conn = await connect_both(server)
        ids.add(conn.id)
        conn.on("close", lambda: None)
        conn.data["me"] = conn  # a cycle of the application's own
        await wire.shake_close()
        await wire.close()
        del conn
    await wait_until(lambda: not server.connections)
    gc.collect()
    found = [thing for thing in gc.get_objects() if isinstance(thing, sockwave.Connection)]
    assert not [conn for conn in found if conn.id in ids]


async def test_idle_server_rests_after_a_storm_of_resets(start_server: StartServer) -> None:
    server = await start_server()
    echo(server)
    half = build_request({"Host": "x"})[:10]
    for size in range(0, 60, 3):
        wire = await Wire.open(server.addresses[0])
        wire.write(half)
        await asyncio.sleep(0)
        wire.reset()
        wire = await Wire.connect(server.addresses[0])
        wire.write(reference.serialize(Frame(TEXT, b"x" * 50))[:size])
        wire.write_eof()
        if size % 2:
            await asyncio.sleep(0)
        wire.reset()
    await wait_until(lambda: not server.connections)
    await let_arrive()
    assert await count_turns(server.loop, 0.2) < 50, "the loop spins"
