"""The loop of `server.run()`: the core serves its sockets without it, and leaves it all the rest.

How many messages the core has served meanwhile is counted in the program, in place of time.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from wire import CLOSE, Wire

PATIENCE_S = 30
#: What the core may serve before the loop has its turn: a batch of what has come together.
BATCH = 4

PROGRAM = """
import asyncio, os, signal, sys, threading
import sockwave

server = sockwave.create_server(engine=sys.argv[1])
served = 0

def say(*words):
    print(*words, flush=True)

def served_since(begin, *_):
    say(served - begin)

@server.on("connection")
def connected(conn):
    loop = asyncio.get_running_loop()

    @conn.on("message")
    def message(text):
        global served
        if not server.is_closing:
            served += 1
        conn.send(text)
        if text == "soon":
            loop.call_soon(served_since, served)
        elif text == "task":
            future = loop.create_future()
            asyncio.ensure_future(tell(future))
            loop.call_soon(future.set_result, served)
        elif text == "thread":
            one = threading.Thread(
                target=loop.call_soon_threadsafe, args=(loop.call_soon, served_since, served)
            )
            one.start()
            one.join()
        elif text == "pipe":
            read, write = os.pipe()
            loop.add_reader(read, heard, loop, read, write, served)
            os.write(write, b"!")
        elif text == "later":
            watch_timer(conn, loop)
        elif text == "stop":
            loop.stop()
            server.stopped_at = served
        elif text == "compiled":
            conn.remove_listener("message", message)
            conn.on("message", conn.send)

async def tell(future):
    served_since(await future)

def heard(loop, read, write, begin):
    loop.remove_reader(read)
    os.close(read)
    os.close(write)
    served_since(begin)

def watch_timer(conn, loop):
    \"\"\"Tell how many messages are served when the time has come, before the timer is run.\"\"\"
    due = loop.time() + 0.02
    late = []

    @conn.on("message")
    def count(text):
        if loop.time() > due:
            late.append(text)

    def run():
        conn.remove_listener("message", count)
        say(len(late))

    loop.call_at(due, run)

# Where these two are the application's own, no signal wakes the loop.
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, lambda *_: say("signalled"))
server.listen(0, "127.0.0.1")
say(server.addresses[0][1])
try:
    server.run()
except RuntimeError:
    say(served - server.stopped_at)
"""


class Busy:
    """A program whose server has something to do all the time."""

    def __init__(self, process: asyncio.subprocess.Process, wire: Wire) -> None:
        self.process = process
        self.wire = wire
        self.echo_count = 0

    async def read_line(self) -> str:
        assert self.process.stdout
        return (await asyncio.wait_for(self.process.stdout.readline(), PATIENCE_S)).decode().strip()

    async def talk(self) -> None:
        """Have messages echoed, one after the other, until this is cancelled or the server ends."""
        while True:
            self.wire.send("on")
            await self.wire.receive_message()
            self.echo_count += 1

    async def ask(self, text: str) -> int:
        """Send a text amid the others, and give the number that the program prints."""
        self.wire.send(text)
        assert await self.wire.receive_message() == text
        return int(await self.read_busily())

    async def read_busily(self) -> str:
        """Read a line of the program's while its server goes on echoing."""
        talking = asyncio.ensure_future(self.talk())
        try:
            return await self.read_line()
        finally:
            talking.cancel()
            await asyncio.wait([talking])
            if talking.cancelled() and self.process.returncode is None:
                # The echo that was on its way.
                self.wire.send("last")
                while await self.wire.receive_message() != "last":
                    pass


@asynccontextmanager
async def busy(engine: str) -> AsyncIterator[Busy]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, engine), stdout=subprocess.PIPE
    )
    try:
        assert process.stdout
        port = int(await asyncio.wait_for(process.stdout.readline(), PATIENCE_S))
        yield Busy(process, await Wire.connect(("127.0.0.1", port)))
    finally:
        await Wire.close_all()
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_what_a_listener_leaves_the_loop_is_done_in_time(engine: str) -> None:
    async with busy(engine) as program:
        for kind in ("soon", "task", "thread", "pipe", "later"):
            for _ in range(3):
                assert await program.ask(kind) <= BATCH, kind


async def test_a_handler_of_a_signal_runs_although_no_python_code_does(engine: str) -> None:
    async with busy(engine) as program:
        program.wire.send("compiled")
        assert await program.wire.receive_message() == "compiled"
        counts = []
        for _ in range(5):
            before = program.echo_count
            os.kill(program.process.pid, signal.SIGUSR1)
            assert await program.read_busily() == "signalled"
            counts.append(program.echo_count - before)
        # Otherwise it would wait for the next tick, half a second away.
        assert sum(counts) < 200, counts


async def test_a_listener_can_stop_the_loop(engine: str) -> None:
    async with busy(engine) as program:
        program.wire.send("stop")
        assert await program.wire.receive_message() == "stop"
        # The loop has been stopped in `server.run`, which closes the server then.
        program.wire.send("more")
        while (await program.wire.receive_frame()).opcode != CLOSE:
            program.wire.send("more")
        program.wire.write_close(1001)
        assert int(await program.read_line()) <= BATCH


@pytest.mark.skipif(sys.platform != "linux", reason="epoll is Linux's")
async def test_the_core_serves_its_sockets_without_the_loop() -> None:
    """Its rounds cost more than a message does."""
    counting = """
rounds = 0
from sockwave.runtime import selector
select = selector.CoreSelector.select

def count(self, timeout=None):
    global rounds
    rounds += 1
    return select(self, timeout)

selector.CoreSelector.select = count
import sockwave, sys
server = sockwave.create_server(engine="epoll")

@server.on("connection")
def connected(conn):
    @conn.on("message")
    def message(text):
        conn.send(str(rounds))

server.listen(0, "127.0.0.1")
print(server.addresses[0][1], flush=True)
server.run()
"""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", counting), stdout=subprocess.PIPE
    )
    try:
        assert process.stdout
        wire = await Wire.connect(("127.0.0.1", int(await process.stdout.readline())))
        told = []
        for _ in range(400):
            wire.send("?")
            told.append(int(str(await wire.receive_message())))
        # A tick now and then has the loop go round.
        steps = [later - sooner for sooner, later in pairwise(told)]
        assert steps.count(0) > 300
    finally:
        await Wire.close_all()
        process.kill()
        await process.wait()
