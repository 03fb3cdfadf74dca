"""The ways to run a server, and the ways in which that ends."""

import asyncio
import contextlib
import signal
import subprocess
import sys

import pytest
from conftest import ErrorLog
from wire import (
    Wire,
    assert_echoes,
    let_arrive,
)

import sockwave


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


def test_a_loop_that_is_closed_with_connections_open_leaves_nothing_behind(engine: str) -> None:
    """The engine, its timers and their owners go as garbage, in no order (make sanitize)."""
    program = """
import asyncio, gc, sys
import sockwave

kept = []

async def main():
    server = sockwave.create_server(engine=sys.argv[1], ping_interval=5)
    server.listen(0, "127.0.0.1")
    await server.start()
    uri = f"ws://127.0.0.1:{server.addresses[0][1]}"
    kept.append(await sockwave.connect(uri, engine=sys.argv[1]))
    kept.append(server)

loop = asyncio.new_event_loop()
loop.run_until_complete(main())
loop.close()
del loop
kept.clear()
gc.collect()
"""
    ended = subprocess.run(
        [sys.executable, "-c", program, engine],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
