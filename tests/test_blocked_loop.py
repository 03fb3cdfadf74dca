"""In asyncio's debug mode, listeners that hold up the loop are named."""

import asyncio
import functools
import logging
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from conftest import StartServer
from http_wire import receive_answer
from wire import Wire, wait_until

import sockwave

SLOW_S = 0.05


class Warnings(logging.Handler):
    """What asyncio's own log was told."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def about(self, name: str) -> list[str]:
        return [line for line in self.lines if f"{name}()" in line]


@pytest.fixture
async def warnings() -> AsyncIterator[Warnings]:
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = SLOW_S
    handler = Warnings()
    logging.getLogger("asyncio").addHandler(handler)
    yield handler
    logging.getLogger("asyncio").removeHandler(handler)


def hold_up(*_: object) -> None:
    time.sleep(2 * SLOW_S)


def place_of(function: Any) -> str:
    return f"{function.__code__.co_filename}:{function.__code__.co_firstlineno}"


class Slow:
    def __call__(self, message: str) -> None:
        hold_up()

    def listen(self, message: str) -> None:
        hold_up()


@pytest.mark.parametrize("kind", ["function", "partial", "method", "object", "raises"])
async def test_slow_listener_is_named(
    start_server: StartServer, warnings: Warnings, kind: str, error_log: Any
) -> None:
    server = await start_server()
    slow = Slow()

    def raises() -> None:
        hold_up()
        raise LookupError

    listener, name, place = {
        "function": (hold_up, "hold_up", hold_up),
        "partial": (functools.partial(hold_up), "hold_up", hold_up),
        "method": (slow.listen, "Slow.listen", Slow.listen),
        "object": (slow, "Slow", Slow.__call__),
        "raises": (raises, "raises", raises),
    }[kind]
    server.on("connection", lambda conn: conn.on("message", listener) and None)
    wire = await Wire.connect(server.addresses[0])
    wire.send("x")
    await wait_until(lambda: warnings.about(name))
    (line,) = warnings.about(name)
    assert line.startswith("Executing <listener of 'message': ")
    assert re.search(rf"{name}\(\) at {re.escape(place_of(place))}> took \d+\.\d+ seconds", line)
    error_log.take()


@pytest.mark.parametrize("event", ["connection", "close", "request", "stream"])
async def test_slow_listener_of_any_event_is_named(
    start_server: StartServer, warnings: Warnings, event: str
) -> None:
    server = await start_server()

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        if event == "close":
            conn.on("close", hold_up)

    @server.on("request")
    def respond(request: sockwave.Request, response: sockwave.Response) -> None:
        response.end()

    if event != "close":
        server.on(event, hold_up)
    wire = await Wire.connect(server.addresses[0])
    wire.reset()
    visitor = await Wire.open(server.addresses[0])
    visitor.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await receive_answer(visitor)
    await wait_until(lambda: warnings.about("hold_up"))
    expected = f"Executing <listener of '{event}': hold_up() at {place_of(hold_up)}> took "
    assert warnings.about("hold_up")[0].startswith(expected)


async def test_slow_step_of_an_async_listener_is_named(
    start_server: StartServer, warnings: Warnings
) -> None:
    server = await start_server()

    async def slow_call(message: str) -> None:
        await asyncio.sleep(0)
        hold_up()

    server.on("connection", lambda conn: conn.on("message", slow_call) and None)
    wire = await Wire.connect(server.addresses[0])
    wire.send("x")
    await wait_until(lambda: warnings.about("slow_call"))
    assert slow_call.__code__.co_filename in warnings.about("slow_call")[0]


async def test_slow_step_of_a_handler_is_named(
    start_server: StartServer, warnings: Warnings
) -> None:
    server = await start_server()

    async def slow_handler(conn: sockwave.Connection) -> None:
        async for _ in conn:
            hold_up()
        await asyncio.sleep(0)

    server.on("connection", slow_handler)
    wire = await Wire.connect(server.addresses[0])
    await wire.wait_until_read()
    wire.send("x")
    await wait_until(lambda: warnings.about("slow_handler"))
    assert slow_handler.__code__.co_filename in warnings.about("slow_handler")[0]


async def test_quick_listeners_are_not_named_and_debug_may_come_and_go(
    start_server: StartServer, warnings: Warnings
) -> None:
    loop = asyncio.get_running_loop()
    loop.set_debug(False)
    server = await start_server()

    def listen(message: str) -> str:
        hold_up() if message == "slow" else None
        return message

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        conn.on("message", lambda message: conn.send(listen(message)))

    async def say(message: str) -> None:
        wire.send(message)
        assert await wire.receive_message() == message

    wire = await Wire.connect(server.addresses[0])
    # What ran while the debug mode ended may have been slow, on a loud machine.
    warnings.lines.clear()
    await say("slow")
    assert warnings.lines == []
    loop.set_debug(True)
    await say("quick")
    assert not any("listener of" in line for line in warnings.lines)
    while not any("listener of" in line for line in warnings.lines):
        await say("slow")  # from the next tick on
    loop.set_debug(False)
    count = len(warnings.lines)
    while True:
        await say("slow")
        if len(warnings.lines) == count:
            break
        count = len(warnings.lines)


RUN = """
import sys, time, threading, socket
import sockwave

server = sockwave.create_server(engine=sys.argv[1])

@server.on("request")
def slow_request(request, response):
    time.sleep(0.3)
    response.end()
    server.close()

server.listen(0, "127.0.0.1")

def visit():
    with socket.create_connection(server.addresses[0]) as client:
        client.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
        client.recv(4096)

threading.Thread(target=visit).start()
server.run()
"""


def test_slow_listener_is_named_under_run_in_development_mode(engine: str) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", RUN, engine],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    line = r"Executing <listener of 'request': slow_request\(\) at <string>:7> took (\S+) seconds"
    (seconds,) = re.findall(line, done.stderr)
    assert float(seconds) >= 0.3
