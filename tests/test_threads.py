"""Other threads, and signal handlers: what they may call, and what raises at once."""

import asyncio
import gc
import importlib
import importlib.util
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from commands import PATIENCE_S, started
from conftest import ErrorLog, StartServer
from http_wire import receive_answer
from wire import Wire, connect_both, wait_until

import sockwave
from sockwave.runtime.thread_calls import ThreadCalls

LOOPS = ["asyncio"] + (["uvloop"] if importlib.util.find_spec("uvloop") else [])


async def in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """Call something in a thread that has no loop, and give its result."""
    return await asyncio.to_thread(function, *args)


async def refused(name: str, function: Callable[..., Any], *args: Any, **named: Any) -> None:
    """Expect that another thread may not make a call, and is told what it may."""
    for call in (lambda: function(*args, **named), lambda: in_a_loop(function, *args, **named)):
        with pytest.raises(sockwave.SockwaveError) as caught:
            await in_thread(call)
        assert str(caught.value).startswith(f"{name}: expected the thread of the server's loop")
        assert "elsewhere, it is " in str(caught.value)


def in_a_loop(function: Callable[..., Any], *args: Any, **named: Any) -> Any:
    """Make a call in a loop of this thread's own."""

    async def call() -> Any:
        return function(*args, **named)

    return asyncio.run(call())


def run(coroutine_function: Callable[[], Any]) -> Callable[[], Any]:
    """Give what awaits something in a loop of its own."""

    async def wait() -> Any:
        return await coroutine_function()

    return lambda: asyncio.run(wait())


async def test_a_connection_belongs_to_its_thread(start_server: StartServer) -> None:
    server = await start_server()
    wire, conn = await connect_both(server)

    def listener() -> None:
        raise AssertionError

    await refused("conn.send", conn.send, "from a thread")
    await refused("conn.send", conn.write, b"from a thread", slow="drop_new")
    await refused("conn.send", conn.send, object())
    await refused("conn.broadcast", conn.broadcast, "from a thread")
    await refused("conn.close", conn.close)
    await refused("conn.abort", conn.abort)
    await refused("conn.ping", conn.ping)
    await refused("conn.stream", conn.stream)
    await refused("conn.stream_message", conn.stream_message, "text")
    await refused("conn.on", conn.on, "message")
    await refused("conn.on", conn.on, "message", listener)
    await refused("conn.once", conn.once, "message", listener)
    await refused("conn.off", conn.off, "message", listener)
    assert not conn.listeners("message")

    # What may be read may be read.
    assert await in_thread(lambda: (conn.id, conn.ready_state.name, len(server.connections))) == (
        conn.id,
        "CONNECTED",
        1,
    )
    conn.send("from the loop")
    assert await wire.receive_message() == "from the loop"
    await wire.receive_nothing()


async def test_a_connection_is_awaited_in_its_loop_only(start_server: StartServer) -> None:
    server = await start_server()
    wire, conn = await connect_both(server)
    out = conn.stream_message("text")
    incoming = conn.stream()

    async def iterate(what: Any) -> None:
        async for _ in what:
            raise AssertionError

    async def enter() -> None:
        await out.__aenter__()

    for name, wait in (
        ("conn.receive", conn.receive),
        ("conn.receive", lambda: conn.receive(5)),
        ("async for message in conn", lambda: iterate(conn)),
        ("async for chunk in conn.stream()", lambda: iterate(incoming)),
        ("conn.stream_message", enter),
        ("server.start", server.start),
        ("server.start", server.serve_forever),
        ("server.start", server.__aenter__),
    ):
        with pytest.raises(sockwave.SockwaveError, match=f"^{name.replace('()', '..')}: expected"):
            await in_thread(run(wait))

    async with out:
        await refused("out.write", out.write, "from a thread")
        await out.write("from the loop")
    assert (await wire.receive_fragment()).payload == b"from the loop"
    wire.send("whole")
    assert [chunk async for chunk in incoming] == ["whole"]


async def test_a_draft_s_connection_belongs_to_its_thread(start_server: StartServer) -> None:
    server = await start_server()
    found = asyncio.get_running_loop().create_future()
    server.on("connection", found.set_result)
    wire = await Wire.connect_hixie(server.addresses[0], 76)
    conn = await found
    await refused("conn.send", conn.send, "from a thread")
    await refused("conn.close", conn.close)
    await refused("server.broadcast", server.broadcast, "from a thread")
    await wire.receive_nothing()


async def test_a_server_that_runs_belongs_to_its_thread(start_server: StartServer) -> None:
    server = await start_server()
    wire, _ = await connect_both(server)

    async def handler(conn: sockwave.Connection) -> None: ...

    def listener() -> None: ...

    await refused("server.broadcast", server.broadcast, "from a thread")
    with pytest.raises(sockwave.SockwaveError, match=r"it is server\.broadcast_threadsafe\("):
        await in_thread(server.broadcast, "from a thread")
    await refused("server.listen", server.listen, 0, "127.0.0.1")
    await refused("server.listen_fds", server.listen_fds)
    await refused("server.reload_tls", server.reload_tls, "no such file")
    await refused("server.handle_with", server.handle_with, handler)
    await refused("server.on", server.on, "connection")
    await refused("server.on", server.on, "connection", listener)
    await refused("server.once", server.once, "connection", listener)
    await refused("server.off", server.off, "connection", listener)
    with pytest.raises(sockwave.SockwaveError, match=r"^server\.run: expected the thread"):
        await in_thread(server.run)
    assert len(server.addresses) == 1
    assert listener not in server.listeners("connection")
    await wire.receive_nothing()


async def test_a_response_belongs_to_its_thread(start_server: StartServer) -> None:
    server = await start_server()

    @server.on("request")
    async def request(req: sockwave.Request, res: sockwave.Response) -> None:
        await refused("response.write_head", res.write_head, 200)
        await refused("response.write", res.write, b"")
        await refused("response.send_file", res.send_file, __file__)
        await refused("response.end", res.end, "from a thread")
        with pytest.raises(sockwave.SockwaveError, match=r"^request\.body: expected the thread"):
            await in_thread(run(req.body))
        res.end(await req.body())

    wire = await Wire.open(server.addresses[0])
    wire.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
    assert (await receive_answer(wire)).status == 100
    wire.write(b"body")
    answer = await receive_answer(wire)
    assert (answer.status, answer.body) == (200, b"body")


async def test_an_accepted_socket_belongs_to_its_thread(start_server: StartServer) -> None:
    server = await start_server()
    streams: list[sockwave.AcceptedSocket] = []
    server.on("stream", streams.append)
    wire = await Wire.open(server.addresses[0])
    await wait_until(lambda: streams)
    await refused("stream.close", streams[0].close)
    await wire.receive_nothing()
    streams[0].close()
    await wire.receive_end()


async def test_a_handshake_may_be_judged_in_a_thread(start_server: StartServer) -> None:
    async def authorize(handshake: sockwave.Handshake) -> None:
        await refused("conn.close", handshake.connection.close)
        await in_thread(handshake.add_header, "X-Judged", "yes")
        await in_thread(handshake.refuse, 401)

    server = await start_server(authorize=authorize)
    wire = await Wire.open(server.addresses[0])
    wire.write(
        b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    assert (await receive_answer(wire)).status == 401


async def test_any_thread_may_configure_what_does_not_run(engine: str) -> None:
    server = sockwave.create_server(engine=engine)
    heard: list[str] = []

    def configure() -> None:
        server.on("connection", lambda conn: heard.append("connection"))
        server.on("listening", lambda: heard.append("listening"))
        server.listen(0, "127.0.0.1")
        assert server.broadcast("to nobody") == 0

    await in_thread(configure)
    async with server:
        await (await Wire.connect(server.addresses[0])).close()
    assert heard == ["listening", "connection"]
    # What has ended can harm nobody.
    assert await in_thread(server.broadcast, "to nobody") == 0
    await in_thread(server.on, "connection", lambda: None)


async def test_a_loop_may_go_on_in_another_thread(engine: str) -> None:
    loop = asyncio.new_event_loop()
    server = sockwave.create_server(engine=engine)
    server.on("connection", lambda conn: conn.on("message", conn.send))
    server.listen(0, "127.0.0.1")
    await in_thread(loop.run_until_complete, server.start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    async with await Wire.connect(server.addresses[0]) as wire:
        wire.send("again")
        assert await wire.receive_message() == "again"
        await refused("server.broadcast", server.broadcast, "from a thread")
    await in_thread(server.call_threadsafe(loop.stop).result, PATIENCE_S)
    thread.join()
    # Nothing runs: whoever goes on with the loop may close the server.
    await in_thread(lambda: loop.run_until_complete(server.close()))
    loop.close()


async def test_a_call_is_made_in_the_loop(start_server: StartServer) -> None:
    server = await start_server()
    wire, conn = await connect_both(server)
    here = threading.get_ident()

    async def double(number: int) -> int:
        assert threading.get_ident() == here
        return 2 * number

    def call() -> None:
        assert server.call_threadsafe(threading.get_ident).result(PATIENCE_S) == here
        assert server.call_threadsafe(double, 21).result(PATIENCE_S) == 42
        assert server.call_threadsafe(conn.send, "sent").result(PATIENCE_S) is None
        assert server.call_threadsafe(server.broadcast, "told").result(PATIENCE_S) == 1
        with pytest.raises(TypeError, match="a message is a str"):
            server.call_threadsafe(conn.send, 3).result(PATIENCE_S)
        with pytest.raises(TypeError, match="function: expected a callable, given str"):
            server.call_threadsafe("broadcast")  # type: ignore[arg-type]

    await in_thread(call)
    assert await wire.receive_message() == "sent"
    assert await wire.receive_message() == "told"
    # In the loop too, where a task may await it.
    assert await server.call_threadsafe(double, 4) == 8
    assert isinstance(server.call_threadsafe(double, 4), Future)


async def test_a_thread_can_wait_for_the_next_message(start_server: StartServer) -> None:
    server = await start_server()
    wire, conn = await connect_both(server)
    received = server.call_threadsafe(conn.receive)
    wire.send("next")
    assert await in_thread(received.result, PATIENCE_S) == "next"


async def test_who_cancels_a_call_cancels_what_it_waits_for(start_server: StartServer) -> None:
    server = await start_server()
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    future = server.call_threadsafe(wait)
    await begun.wait()
    assert await in_thread(future.cancel)
    await cancelled.wait()
    unbegun = server.call_threadsafe(begun.clear)
    assert unbegun.cancel()
    await server.call_threadsafe(lambda: None)
    assert begun.is_set()


async def test_an_error_that_nobody_asks_for_is_logged(
    start_server: StartServer, error_log: ErrorLog
) -> None:
    server = await start_server()
    wire, conn = await connect_both(server)
    server.call_threadsafe(conn.send, 3)
    await server.call_threadsafe(lambda: None)
    gc.collect()
    assert [type(error) for error in error_log.take()] == [TypeError]
    await wire.close()
    await wait_until(lambda: not len(server.connections))
    server.call_threadsafe(conn.send, "to nobody")  # ConnectionClosed: nothing to tell of
    await server.call_threadsafe(lambda: None)


async def test_broadcasts_of_threads_come_whole_in_order_and_by_one_wake_up(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await start_server()
    wire, _ = await connect_both(server)
    loop = asyncio.get_running_loop()
    wake_ups: list[object] = []
    wake = loop.call_soon_threadsafe

    def counted(callback: Any, *args: Any, **named: Any) -> Any:
        wake_ups.append(callback)
        return wake(callback, *args, **named)

    monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
    data = bytearray(b"as it was")

    def publish() -> None:
        for number in range(200):
            server.broadcast_threadsafe(str(number))
        server.broadcast_threadsafe(data)
        data[:] = b"changed.."
        server.broadcast_threadsafe("kept", slow="conflate", key=1)
        with pytest.raises(TypeError, match="a message is a str"):
            server.broadcast_threadsafe(3)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="slow"):
            server.broadcast_threadsafe("x", slow="never")
        with pytest.raises(ValueError, match="surrogate"):
            server.broadcast_threadsafe("\ud800")

    thread = threading.Thread(target=publish)
    thread.start()
    thread.join()  # the loop stands still: all of it is one turn's
    assert len(wake_ups) == 1
    monkeypatch.undo()
    for number in range(200):
        assert await wire.receive_message() == str(number)
    assert await wire.receive_message() == b"as it was"
    assert await wire.receive_message() == "kept"


async def test_what_does_not_run_takes_no_calls(engine: str) -> None:
    server = sockwave.create_server(engine=engine)
    server.listen(0, "127.0.0.1")
    for call in (
        lambda: server.call_threadsafe(print),
        lambda: server.broadcast_threadsafe("to nobody"),
    ):
        with pytest.raises(sockwave.SockwaveError, match="the server does not run"):
            await in_thread(call)
    async with server:
        pass
    for call in (
        lambda: server.call_threadsafe(print),
        lambda: server.broadcast_threadsafe("to nobody"),
    ):
        with pytest.raises(sockwave.SockwaveError, match="the server does not run"):
            await in_thread(call)
    assert (await in_thread(server.close)).result(PATIENCE_S) is None


@pytest.mark.parametrize("loop_name", LOOPS)
async def test_nobody_waits_for_a_loop_that_is_gone(engine: str, loop_name: str) -> None:
    futures: list[Future[Any]] = []

    def serve() -> None:
        loop = importlib.import_module(loop_name).new_event_loop()
        server = sockwave.create_server(engine=engine)
        server.listen(0, "127.0.0.1")
        loop.run_until_complete(server.start())
        futures.append(server.call_threadsafe(loop.create_future))
        loop.run_until_complete(asyncio.sleep(0.01))  # it has begun
        futures.append(server.call_threadsafe(print, "never"))
        loop.close()
        with pytest.raises(sockwave.SockwaveError, match="the server's loop has ended"):
            server.call_threadsafe(print)
        with pytest.raises(sockwave.SockwaveError, match="the server's loop has ended"):
            server.broadcast_threadsafe("to nobody")
        with pytest.raises(sockwave.SockwaveError, match="the server's loop has ended"):
            server.close()

    await in_thread(serve)
    for future in futures:
        with pytest.raises(sockwave.SockwaveError, match="the server's loop has ended"):
            await in_thread(future.result, PATIENCE_S)


async def test_calls_are_cancelled_with_the_loop_s_tasks(engine: str) -> None:
    server = sockwave.create_server(engine=engine)
    futures: list[Future[Any]] = []

    async def serve() -> None:
        server.listen(0, "127.0.0.1")
        await server.start()
        begun = asyncio.Event()

        async def wait() -> None:
            begun.set()
            await asyncio.Event().wait()

        futures.append(server.call_threadsafe(wait))
        await begun.wait()
        await server.close()

    await in_thread(lambda: asyncio.run(serve()))
    assert futures[0].cancelled()


async def test_any_thread_may_close_a_server(start_server: StartServer) -> None:
    server = await start_server()
    wire, _ = await connect_both(server)
    with pytest.raises(ValueError, match="drain"):
        await in_thread(server.close, 1001, "", -1)
    futures = [await in_thread(server.close, 1001, "so long", 20, 0) for _ in range(3)]
    assert all(isinstance(future, Future) for future in futures)
    assert await wire.receive_close() == (1001, "so long")
    assert not any(future.done() for future in futures)
    wire.write_close(1001)
    for future in futures:
        assert await in_thread(future.result, PATIENCE_S) is None
    assert server.addresses == []


@pytest.mark.parametrize("loop_name", LOOPS)
def test_a_thread_that_is_slow_to_close_a_server_hears_that_it_has_ended(
    engine: str, loop_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = sockwave.create_server(engine=engine)
    server.listen(0, "127.0.0.1")
    listening = threading.Event()
    server.on("listening", listening.set)
    make_loop = importlib.import_module(loop_name).new_event_loop

    def serve() -> None:
        with asyncio.Runner(loop_factory=make_loop) as runner:
            runner.run(server.serve_forever())

    serving = threading.Thread(target=serve)
    serving.start()
    assert listening.wait(PATIENCE_S)
    call = ThreadCalls.call

    def call_late(calls: ThreadCalls, function: Callable[..., object], *rest: Any) -> Any:
        if function == server._wait_closed:  # the end has begun, and is there before this goes on
            serving.join(PATIENCE_S)
        return call(calls, function, *rest)

    monkeypatch.setattr(ThreadCalls, "call", call_late)
    assert server.close().result(PATIENCE_S) is None  # type: ignore[union-attr]
    assert not serving.is_alive()


async def test_a_server_that_does_not_run_may_be_closed_by_any_thread(engine: str) -> None:
    server = sockwave.create_server(engine=engine)
    server.listen(0, "127.0.0.1")
    closed: list[object] = []
    server.on("close", closed.append)
    assert (await in_thread(server.close)).result(PATIENCE_S) is None
    assert closed == [None]
    await server.close()
    with pytest.raises(sockwave.SockwaveError, match="has been closed"):
        await server.start()


async def test_a_stream_may_be_forgotten_in_another_thread(start_server: StartServer) -> None:
    server = await start_server()
    wire, conn = await connect_both(server)
    kept = [conn.stream()]
    await in_thread(kept.clear)
    assert await server.call_threadsafe(lambda: None) is None
    received = asyncio.ensure_future(conn.receive())
    wire.send("for who receives")
    assert await received == "for who receives"


PROGRAM = """
import asyncio, importlib, os, signal, sys, threading
import sockwave

engine, loop_name, way, how, what = sys.argv[1:]
server = sockwave.create_server(engine=engine)
server.listen(0, "127.0.0.1")
connected = threading.Event()

def say(word):
    os.write(1, f"{word}\\n".encode())     # whole, whoever else speaks

@server.on("connection")
def connection(conn):
    connected.set()
    if how == "turn":       # a signal while the core is in the middle of a turn
        conn.on("message", lambda: signal.raise_signal(signal.SIGUSR1))

@server.on("listening")
def listening():
    say(server.addresses[0][1])
    if how == "thread":
        threading.Thread(target=close).start()

@server.on("close")
def closed():
    say("closed")

def close(*_):
    if how == "thread":
        assert connected.wait(20)
    future = server.close(1001, "so long", 0.2 if what == "rest" else 20, 0)
    if how == "thread":
        future.result(20)
        say("thread")

if how != "thread":
    signal.signal(signal.SIGUSR1, close)
if way == "run":
    server.run()
else:
    with asyncio.Runner(loop_factory=importlib.import_module(loop_name).new_event_loop) as runner:
        runner.run(server.serve_forever())
if what == "on":
    say("on")
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    threading.Event().wait()
"""

WAYS = [("run", "asyncio"), *(("serve_forever", name) for name in LOOPS)]


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS, ids="-".join)
@pytest.mark.parametrize("how", ["thread", "wait", "turn"])
@pytest.mark.parametrize("what", ["orderly", "rest"])
async def test_close_from_elsewhere_ends_the_program(
    engine: str, way: tuple[str, str], how: str, what: str, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    arguments = ("-X", "dev", str(program), engine, way[1], way[0], how, what)
    with started(*arguments) as process:
        assert process.stdout
        assert process.stderr
        port = int(await in_thread(process.stdout.readline))
        async with await Wire.connect(("127.0.0.1", port)) as wire:
            if how != "thread":  # which does not wait for anything else
                await wire.wait_until_read()
            if how == "wait":
                process.send_signal(signal.SIGUSR1)
            elif how == "turn":
                wire.send("now")
            assert await wire.receive_close() == (1001, "so long")
            if what == "orderly":
                wire.write_close(1001)
                await wire.receive_end()
            output, errors = await in_thread(process.communicate, None, PATIENCE_S)
        said = sorted(output.split())
        assert said == (["closed", "thread"] if how == "thread" else ["closed"])
        assert "Error" not in errors
        assert "Traceback" not in errors
        assert process.returncode == 0


@pytest.mark.parametrize("way", WAYS, ids="-".join)
@pytest.mark.parametrize("how", ["thread", "wait"])
async def test_signals_end_a_program_whose_server_has_been_closed_from_elsewhere(
    engine: str, way: tuple[str, str], how: str, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    arguments = ("-X", "dev", str(program), engine, way[1], way[0], how, "on")
    with started(*arguments) as process:
        assert process.stdout
        assert process.stderr
        port = int(await in_thread(process.stdout.readline))
        async with await Wire.connect(("127.0.0.1", port)) as wire:
            if how != "thread":  # which does not wait for anything else
                await wire.wait_until_read()
            if how == "wait":
                process.send_signal(signal.SIGUSR1)
            await wire.receive_close()
            wire.write_close(1001)
            while (line := await in_thread(process.stdout.readline)) != "on\n":
                assert line, process.stderr.read()
        process.send_signal(signal.SIGTERM)
        assert await in_thread(process.wait, PATIENCE_S) == -signal.SIGTERM


async def test_a_second_signal_still_drops_who_does_not_go(engine: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    with started(str(program), engine, "asyncio", "run", "wait", "orderly") as process:
        assert process.stdout
        port = int(await in_thread(process.stdout.readline))
        wire = await Wire.connect(("127.0.0.1", port))
        await wire.wait_until_read()
        process.send_signal(signal.SIGUSR1)
        assert await wire.receive_close() == (1001, "so long")
        process.send_signal(signal.SIGTERM)
        await in_thread(process.communicate, None, PATIENCE_S)
        assert process.returncode == 0
        await wire.close()
