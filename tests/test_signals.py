"""Ctrl-C and SIGTERM: who handles them while a server runs, who does afterwards, and what is said.

The programs are processes of their own, with signals as the system sends them.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from wire import Wire

import sockwave

PATIENCE_S = 30
ENDING = [signal.SIGINT, signal.SIGTERM]

#: What all programs begin with; a client that gets an echo knows that the program serves.
OPENING = """
import asyncio, signal, sys, threading, time
import sockwave

engine = sys.argv[1]

async def echo(conn):
    async for message in conn:
        await conn.send(message)

def say(*words):
    print(*words, flush=True)

"""

SERVE_FOREVER = """
async def main():
    async with sockwave.serve(echo, "127.0.0.1", 0, engine=engine) as server:
        say(server.addresses[0][1])
        await server.serve_forever()
    say("over")

asyncio.run(main())
"""

STREAM = """
server = sockwave.create_server(engine=engine)
server.handle_with(echo)

@server.on("request")
async def stream(request, response):
    response.write_head(200, {"Content-Type": "text/event-stream"})
    response.write("data: 1\\n\\n")
    await (server.wait_closing() if request.path == "/polite" else asyncio.Event().wait())
    response.end()

server.listen(0, "127.0.0.1")
say(server.addresses[0][1])
"""

RUN_IT = {
    "run": "server.run()\n",
    "serve_forever": "asyncio.run(server.serve_forever())\n",
}


class Program:
    """A program that has printed its port, and the wire to it."""

    def __init__(self, process: asyncio.subprocess.Process, wire: Wire, port: int) -> None:
        self.process = process
        self.wire = wire
        self.address = "127.0.0.1", port

    def signal(self, number: int) -> None:
        # `send_signal` may reap a process that has just ended: its status would be lost.
        os.kill(self.process.pid, number)

    async def read_error(self) -> str:
        assert self.process.stderr
        return (await asyncio.wait_for(self.process.stderr.readline(), PATIENCE_S)).decode()

    async def end(self) -> tuple[int | None, str, str]:
        """Wait for the end, and give the status and what is left of both outputs."""
        out, err = await asyncio.wait_for(self.process.communicate(), PATIENCE_S)
        return self.process.returncode, out.decode(), err.decode()


@contextlib.asynccontextmanager
async def serving(program: str, engine: str, *before: str) -> AsyncIterator[Program]:
    """Run a program until the block ends, and connect to the port that it prints."""
    process = await asyncio.create_subprocess_exec(
        *(*before, sys.executable, "-W", "error", "-c", OPENING + program, engine),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stdout
        line = await asyncio.wait_for(process.stdout.readline(), PATIENCE_S)
        if not line:
            pytest.fail((await process.communicate())[1].decode())
        port = int(line)
        wire = await Wire.connect(("127.0.0.1", port))
        wire.send("there?")
        assert await wire.receive_message() == "there?"
        yield Program(process, wire, port)
    finally:
        await Wire.close_all()
        if process.returncode is None:
            process.kill()
            await process.wait()


async def leave(wire: Wire) -> None:
    """Take part in the closing handshake that the server begins."""
    assert (await wire.receive_close())[0] == 1001
    wire.write_close(1001)
    await wire.receive_end()


@pytest.mark.parametrize("number", ENDING)
async def test_serve_forever_ends_at_a_signal_and_the_program_goes_on(
    engine: str, number: signal.Signals
) -> None:
    async with serving(SERVE_FOREVER, engine) as program:
        program.signal(number)
        await leave(program.wire)
        assert await program.end() == (0, "over\n", "")


def read_status(pid: int) -> str:
    return Path(f"/proc/{pid}/status").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells which signals are handled")
@pytest.mark.parametrize("way", ["run", "serve_forever", "program"])
async def test_both_signals_are_handled_so_that_pid_1_ends_by_them(engine: str, way: str) -> None:
    # pid_namespaces(7): to the first process of a container, only those signals are delivered for
    # which it has a handler.
    text = SERVE_FOREVER if way == "program" else STREAM + RUN_IT[way]
    async with serving(text, engine) as program:
        status = read_status(program.process.pid)
        caught = int(status.split("SigCgt:")[1].split()[0], 16)
        assert all(caught >> number - 1 & 1 for number in ENDING)
        program.signal(signal.SIGTERM)
        await leave(program.wire)
        assert (await program.end())[::2] == (0, "")


OWN_HANDLERS = """
async def main():
    loop = asyncio.get_running_loop()
    def ask(name):
        say(name)
        server.close()
    if sys.argv[2:] == ["loop"]:
        loop.add_signal_handler(signal.SIGINT, ask, "mine")
        loop.add_signal_handler(signal.SIGTERM, ask, "mine")
    else:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: ask("mine"))
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    async with sockwave.serve(echo, "127.0.0.1", 0, engine=engine) as server:
        say(server.addresses[0][1])
        await server.serve_forever()
    say(before == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)])

asyncio.run(main())
"""


@pytest.mark.parametrize("number", ENDING)
@pytest.mark.parametrize("made_by", ["loop", "signal"])
async def test_a_handler_of_the_program_is_left_alone(
    engine: str, made_by: str, number: signal.Signals
) -> None:
    text = OWN_HANDLERS.replace("sys.argv[2:]", repr([made_by]))
    async with serving(text, engine) as program:
        program.signal(number)
        await leave(program.wire)
        assert await program.end() == (0, "mine\nTrue\n", "")


@pytest.mark.parametrize("number", ENDING)
async def test_signals_do_what_they_always_do_where_they_are_not_to_be_handled(
    engine: str, number: signal.Signals
) -> None:
    text = SERVE_FOREVER.replace("serve_forever()", "serve_forever(handle_signals=False)")
    async with serving(text, engine) as program:
        program.signal(number)
        if number == signal.SIGINT:  # asyncio.run cancels the task, which closes the server
            await leave(program.wire)
        status, out, err = await program.end()
        assert (status, out) == (-number, "")
        assert ("KeyboardInterrupt" in err) == (number == signal.SIGINT)


TWO_SERVERS = """
async def main():
    one = sockwave.serve(echo, "127.0.0.1", 0, engine=engine)
    two = sockwave.serve(echo, "127.0.0.1", 0, engine=engine)
    for server in (one, two):
        server.on("close", lambda: say("closed"))
    async with one, two:
        say(one.addresses[0][1])
        await SERVING
        say("both", one.is_closing, two.is_closing)

asyncio.run(main())
"""


@pytest.mark.parametrize(
    "call", ["asyncio.gather(one.serve_forever(), two.serve_forever())", "one.serve_forever()"]
)
async def test_a_signal_closes_every_server_of_the_loop(engine: str, call: str) -> None:
    async with serving(TWO_SERVERS.replace("SERVING", call), engine) as program:
        program.signal(signal.SIGTERM)
        await leave(program.wire)
        assert await program.end() == (0, "closed\nclosed\nboth True True\n", "")


@pytest.mark.parametrize("way", RUN_IT)
async def test_an_open_stream_is_told_of_and_a_second_ctrl_c_ends_at_once(
    engine: str, way: str
) -> None:
    async with serving(STREAM + RUN_IT[way], engine) as program:
        stream = await Wire.open(program.address)
        stream.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await stream.receive_head()
        program.signal(signal.SIGINT)
        await leave(program.wire)
        assert await program.read_error() == (
            "SIGINT: waiting for 1 request, 30 s at most; Ctrl-C once more ends at once\n"
        )
        program.signal(signal.SIGINT)
        assert await program.end() == (0, "", "")


async def test_workers_tell_who_is_waited_for_at_ctrl_c(engine: str) -> None:
    async with serving(STREAM + "server.run(workers=1)\n", engine) as program:
        stream = await Wire.open(program.address)
        stream.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await stream.receive_head()
        program.signal(signal.SIGINT)
        await leave(program.wire)
        assert (await program.read_error()).startswith(
            "SIGINT: waiting for 1 request, 30 s at most"
        )
        program.signal(signal.SIGINT)
        assert await program.end() == (0, "", "")


async def test_a_stream_that_waits_for_the_end_of_the_server_does_not_hold_it_up(
    engine: str,
) -> None:
    async with serving(STREAM + "server.run()\n", engine) as program:
        stream = await Wire.open(program.address)
        stream.write(b"GET /polite HTTP/1.1\r\nHost: a\r\n\r\n")
        await stream.receive_head()
        program.signal(signal.SIGINT)
        await leave(program.wire)
        await stream.receive_rest()
        await stream.close()
        assert await program.end() == (0, "", "")


BLOCKED = """
server = sockwave.create_server(engine=engine)

@server.on("connection")
def connected(conn):
    @conn.on("message")
    def message(text):
        conn.send(text)
        if text == "block":
            say("blocked")
            while True:
                time.sleep(0.01)

server.listen(0, "127.0.0.1")
say(server.addresses[0][1])
"""


@pytest.mark.parametrize("number", ENDING)
@pytest.mark.parametrize("way", RUN_IT)
@pytest.mark.slow
async def test_a_listener_that_blocks_the_loop_is_ended_by_one_more_signal(
    engine: str, way: str, number: signal.Signals
) -> None:
    async with serving(BLOCKED + RUN_IT[way], engine) as program:
        program.wire.send("block")
        assert program.process.stdout
        assert await program.process.stdout.readline() == b"blocked\n"
        ending = asyncio.ensure_future(program.end())
        # The second one counts where the loop has stood for a second since the first one came. The
        # third one is for a machine on which that came late; on others it would interrupt what the
        # second one does.
        for pause_s in (1.1, 5, 30):
            with contextlib.suppress(ProcessLookupError):
                program.signal(number)
            await asyncio.wait([ending], timeout=pause_s)
            if ending.done():
                break
        status, _, err = await ending
        # As the program ends, the next signal may find no handler any more.
        assert status in (-number, 128 + number)
        assert ("time.sleep" in err or "message" in err) == (number == signal.SIGINT)


async def test_another_thread_touches_no_signal(engine: str) -> None:
    server = sockwave.create_server(engine=engine).listen(0, "127.0.0.1")
    numbers = [*ENDING, signal.SIGHUP]
    before = [signal.getsignal(number) for number in numbers]
    seen: list[Any] = []

    @server.on("listening")
    def listening() -> None:
        seen.extend(signal.getsignal(number) for number in numbers)
        server.close()

    await asyncio.to_thread(lambda: asyncio.run(server.serve_forever()))
    assert seen == before


def run_and_close(server: sockwave.Server) -> list[object]:
    """Run a server that closes itself at once; give the handlers from in between."""
    seen: list[object] = []

    @server.on("listening")
    def listening() -> None:
        seen.extend(signal.getsignal(number) for number in ENDING)
        server.close()

    server.run()
    return seen


def ignore(*_: object) -> None:
    """Handle a signal, as the application would."""


@pytest.mark.parametrize("number", ENDING)
@pytest.mark.parametrize("own", [ignore, signal.SIG_IGN, signal.SIG_DFL])
def test_run_gives_the_signals_back_to_the_handlers_from_before(
    engine: str, number: signal.Signals, own: Any
) -> None:
    before = signal.signal(number, own)
    try:
        server = sockwave.create_server(engine=engine).listen(0, "127.0.0.1")
        assert own not in run_and_close(server)
        assert signal.getsignal(number) is own
    finally:
        signal.signal(number, before)


def test_a_handler_that_is_set_while_the_server_runs_stays(engine: str) -> None:
    server = sockwave.create_server(engine=engine).listen(0, "127.0.0.1")
    before = signal.getsignal(signal.SIGTERM)

    @server.on("listening")
    def listening() -> None:
        signal.signal(signal.SIGTERM, ignore)
        signal.raise_signal(signal.SIGTERM)
        server.loop.call_later(0.05, server.close)
        seen.append(server.is_closing)

    seen: list[bool] = []
    server.on("closing", lambda: seen.append(server.is_closing))
    try:
        server.run()
        assert signal.getsignal(signal.SIGTERM) is ignore
        assert seen == [False, True]
    finally:
        signal.signal(signal.SIGTERM, before)


UVLOOP = """
import uvloop

server = sockwave.create_server(engine=engine)
server.handle_with(echo)
server.on("listening", lambda: say(server.addresses[0][1]))
server.on("close", lambda: say(type(server.loop).__module__))
server.listen(0, "127.0.0.1")
"""

UVLOOP_WAYS = {
    "run": "uvloop.install()\nserver.run()\n",
    "serve_forever": "uvloop.run(server.serve_forever())\n",
}


@pytest.mark.parametrize("number", ENDING)
@pytest.mark.parametrize("way", UVLOOP_WAYS)
async def test_uvloop_is_used_where_it_is_installed_and_ends_by_signals(
    engine: str, way: str, number: signal.Signals
) -> None:
    pytest.importorskip("uvloop")
    text = "import warnings\nwarnings.simplefilter('ignore', DeprecationWarning)\n" + UVLOOP
    async with serving(text + UVLOOP_WAYS[way], engine) as program:
        program.signal(number)
        await leave(program.wire)
        assert await program.end() == (0, "uvloop\n", "")
