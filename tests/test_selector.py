"""`server.run()`: the loop of its own, where the core has its turns among everything else."""

import asyncio
import contextlib
import itertools
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import reference
from conftest import ErrorLog
from reference import TEXT, Frame
from wire import Wire, build_request, count_turns, let_arrive, upgrade_headers, wait_until

import sockwave

RunServer = Callable[[sockwave.Server], None]


@pytest.fixture
async def run_server(error_log: ErrorLog) -> AsyncIterator[RunServer]:
    """Let a server run in a thread, as `run()` has it, until the test ends."""
    running: list[tuple[sockwave.Server, threading.Thread]] = []

    def start(server: sockwave.Server) -> None:
        ready = threading.Event()
        server.on("listening", ready.set)
        server.listen(0, "127.0.0.1")
        thread = threading.Thread(target=server.run)
        thread.start()
        running.append((server, thread))
        assert ready.wait(10)

    yield start
    for server, thread in running:
        if thread.is_alive():
            with contextlib.suppress(RuntimeError):  # its loop may have ended just now
                server.loop.call_soon_threadsafe(server.close, 1001, "", 0.2)
        await asyncio.to_thread(thread.join, 10)
        assert not thread.is_alive()
    await Wire.close_all()


async def ask(server: sockwave.Server, question: str) -> str | bytes:
    """Connect, say one thing, and give the answer: nothing else wakes the server meanwhile."""
    async with await Wire.connect(server.addresses[0]) as wire:
        wire.send(question)
        return await wire.receive_message()


async def test_what_a_listener_schedules_is_run_though_nothing_else_happens(
    engine: str, run_server: RunServer
) -> None:
    server = sockwave.create_server(engine=engine)

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        @conn.on("message")
        def message(message: str) -> None:
            loop = asyncio.get_running_loop()
            match message:
                case "soon":
                    loop.call_soon(conn.send, message)
                case "soon after soon":
                    loop.call_soon(loop.call_soon, conn.send, message)
                case "later":
                    loop.call_later(0.02, conn.send, message)
                case "from a thread":
                    threading.Timer(0.02, loop.call_soon_threadsafe, (conn.send, message)).start()

    run_server(server)
    for question in ("soon", "soon after soon", "later", "from a thread"):
        assert await ask(server, question) == question


async def test_async_listeners_may_wait_for_anything(engine: str, run_server: RunServer) -> None:
    server = sockwave.create_server(engine=engine)

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        @conn.on("message")
        async def message(message: str) -> None:
            match message:
                case "sleep":
                    await asyncio.sleep(0.02)
                case "turn":
                    for _ in range(100):
                        await asyncio.sleep(0)
                case "thread":
                    await asyncio.to_thread(time.sleep, 0.02)
                case "process":
                    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
                    assert await process.wait() == 0
                case "lock":
                    event = asyncio.Event()
                    asyncio.get_running_loop().call_later(0.01, event.set)
                    await event.wait()
            await conn.send(message)

    run_server(server)
    for question in ("sleep", "turn", "thread", "process", "lock"):
        assert await ask(server, question) == question


async def test_other_sockets_of_the_loop_are_served_beside(
    engine: str, run_server: RunServer
) -> None:
    server = sockwave.create_server(engine=engine)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        writer.close()

    @server.on("connection")
    async def connected(conn: sockwave.Connection) -> None:
        other = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with other:
            async for message in conn:
                host, port = other.sockets[0].getsockname()
                reader, writer = await asyncio.open_connection(host, port)
                writer.write(str(message).encode() + b"\n")
                await conn.send((await reader.readline()).decode().strip())
                writer.close()
                await writer.wait_closed()

    run_server(server)
    async with await Wire.connect(server.addresses[0]) as wire:
        for i in range(50):
            wire.send(f"{i}")
            assert await wire.receive_message() == f"{i}"


async def test_tasks_of_the_application_are_not_starved_by_a_flood(
    engine: str, run_server: RunServer
) -> None:
    server = sockwave.create_server(engine=engine)
    turns: list[int] = []
    count = 0
    flooded = threading.Event()

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        @conn.on("message")
        def message() -> None:
            nonlocal count
            count += 1

    @server.on("listening")
    async def ticking() -> None:
        while True:
            turns.append(count)
            await asyncio.sleep(0)

    run_server(server)
    batch = reference.serialize(Frame(TEXT, b"x")) * 10_000

    def flood() -> None:
        with socket.create_connection(server.addresses[0]) as sock:
            sock.sendall(build_request(upgrade_headers()))
            assert sock.recv(4096).startswith(b"HTTP/1.1 101 ")
            for _ in range(30):
                sock.sendall(batch)
            flooded.wait(20)

    flooding = [asyncio.create_task(asyncio.to_thread(flood)) for _ in range(4)]
    await wait_until(lambda: count == 1_200_000)
    flooded.set()
    await asyncio.gather(*flooding)
    # Between two turns of the task, each of the four has delivered a wake-up's fill at most.
    assert max(after - before for before, after in itertools.pairwise(turns)) <= 20_000


async def test_broadcast_from_another_thread_is_handed_in_by_the_loop(
    engine: str, run_server: RunServer
) -> None:
    server = sockwave.create_server(engine=engine)
    run_server(server)
    wires = [await Wire.connect(server.addresses[0]) for _ in range(3)]
    await wait_until(lambda: len(server.connections) == 3)
    server.loop.call_soon_threadsafe(server.broadcast, "from outside")
    for wire in wires:
        assert await wire.receive_message() == "from outside"
        await wire.close()


async def test_deadlines_pass_though_nothing_else_happens(
    engine: str, run_server: RunServer
) -> None:
    server = sockwave.create_server(engine=engine, handshake_timeout=0.3)
    run_server(server)
    wire = await Wire.open(server.addresses[0])
    assert await wire.receive_rest() == b""
    await wire.close()


@pytest.mark.slow
async def test_a_tick_that_the_loop_has_lost_is_missed_before_anybody_comes(
    run_server: RunServer,
) -> None:
    server = sockwave.create_server(engine="epoll", idle_timeout=0.5)

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        @conn.on("message")
        def message(message: str) -> None:
            # As it is where the loop has no memory for a call that it has promised.
            loop: Any = server.loop
            for handle in loop._scheduled:
                handle.cancel()
            conn.send(message)

    run_server(server)
    wire = await Wire.connect(server.addresses[0])
    wire.send("lose it")
    assert await wire.receive_message() == "lose it"
    assert (await wire.receive_close())[0] == 1001
    await wire.close()


async def test_idle_server_rests(engine: str, run_server: RunServer) -> None:
    server = sockwave.create_server(engine=engine)
    run_server(server)
    wire = await Wire.connect(server.addresses[0])
    await wait_until(lambda: len(server.connections) == 1)
    await let_arrive()
    assert await count_turns(server.loop, 0.2) < 50, "the loop spins"
    await wire.close()


async def test_run_returns_when_a_listener_closes_the_server(
    engine: str, run_server: RunServer
) -> None:
    server = sockwave.create_server(engine=engine)
    ended = threading.Event()
    server.on("close", ended.set)
    server.on("connection", lambda conn: conn.on("message", lambda: server.close(4002, "enough")))
    run_server(server)
    wire = await Wire.connect(server.addresses[0])
    wire.send("you may go")
    assert await wire.receive_close() == (4002, "enough")
    wire.write_close(4002)
    await wire.receive_end()
    await wire.close()
    assert await asyncio.to_thread(ended.wait, 10)


async def test_server_cannot_be_run_without_an_address(engine: str) -> None:
    server = sockwave.create_server(engine=engine)
    with pytest.raises(sockwave.SockwaveError, match="listen"):
        await asyncio.to_thread(server.run)
