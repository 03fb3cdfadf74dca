"""Rounds of asyncio's own loops: the core serves its sockets without, and leaves them all the rest.

How many messages the core has served meanwhile is counted in the program, in place of time.
"""

import asyncio
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, cast

import pytest
from commands import port_of, serving
from wire import CLOSE, Wire

import sockwave
import sockwave.sync

PATIENCE_S = 30
#: What the core may serve before the loop has its turn: a batch of what has come together.
BATCH = 4
ECHO_COUNT = 400

WAYS = ["run", "serve_forever"]

PROGRAM = """
import asyncio, os, signal, sys, threading
import sockwave

server = sockwave.create_server(engine=sys.argv[1])
served = 0

def say(*words):
    print(*words, flush=True)

def served_since(begin, *_):
    say(served - begin)

tasks = set()

@server.on("connection")
def connected(conn):
    loop = asyncio.get_running_loop()

    async def take():
        async for text in conn:
            message(text)

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

    if sys.argv[3] == "listener":
        conn.on("message", message)
    else:
        tasks.add(loop.create_task(take()))

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
    if sys.argv[2] == "run":
        server.run()
    else:
        asyncio.run(server.serve_forever())
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
async def busy(engine: str, way: str, taker: str = "listener") -> AsyncIterator[Busy]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, engine, way, taker), stdout=subprocess.PIPE
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


@pytest.mark.parametrize("taker", ["listener", "task"])
@pytest.mark.parametrize("way", WAYS)
async def test_what_is_left_to_the_loop_is_done_in_time(engine: str, way: str, taker: str) -> None:
    async with busy(engine, way, taker) as program:
        # The last one adds a listener, beside which no task takes messages.
        for kind in ("soon", "task", "thread", "pipe", "later")[: 5 if taker == "listener" else 4]:
            for _ in range(3):
                assert await program.ask(kind) <= BATCH, kind


@pytest.mark.parametrize("way", WAYS)
async def test_a_signals_handler_runs_although_no_python_code_does(engine: str, way: str) -> None:
    async with busy(engine, way) as program:
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


@pytest.mark.parametrize("way", WAYS)
async def test_a_listener_can_stop_the_loop(engine: str, way: str) -> None:
    async with busy(engine, way) as program:
        program.wire.send("stop")
        assert await program.wire.receive_message() == "stop"
        # The loop has been stopped in `server.run`, which closes the server then.
        program.wire.send("more")
        while (await program.wire.receive_frame()).opcode != CLOSE:
            program.wire.send("more")
        program.wire.write_close(1001)
        assert int(await program.read_line()) <= BATCH


if sys.platform == "linux":
    from sockwave.runtime.selector import CoreSelector

    class Rounds:
        """How often the loops have gone round whose wait the core has had."""

        def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
            self.count = 0
            select = CoreSelector.select

            def count(selector: CoreSelector, timeout: float | None = None) -> Any:
                self.count += 1
                return select(selector, timeout)

            monkeypatch.setattr(CoreSelector, "select", count)

    def serve_echo() -> sockwave.Server:
        server = sockwave.create_server(engine="epoll")
        server.on("connection", lambda conn: conn.on("message", conn.send))
        return server.listen(0, "127.0.0.1")

    def echo_in_thread(port: int) -> None:
        with sockwave.sync.connect(f"ws://127.0.0.1:{port}") as conn:
            for number in range(ECHO_COUNT):
                conn.send(str(number))
                assert conn.recv(PATIENCE_S) == str(number)

    async def count_rounds(rounds: Rounds, server: sockwave.Server) -> int:
        """Have messages echoed, one after the other, and count the rounds that it takes."""
        before = rounds.count
        await asyncio.to_thread(echo_in_thread, server.addresses[0][1])
        return rounds.count - before

    async def test_the_core_serves_its_sockets_without_the_loop(
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """A round of the loop's costs more than a message does."""
        rounds = Rounds(monkeypatch)
        for _ in range(2):  # the second server has the wait that the first one had
            async with serve_echo() as server:
                # A tick has the loop go round now and then.
                assert await count_rounds(rounds, server) < ECHO_COUNT / 2

    async def test_of_two_servers_in_a_loop_one_has_its_wait(
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        rounds = Rounds(monkeypatch)
        async with serve_echo() as first, serve_echo() as second:
            assert await count_rounds(rounds, first) < ECHO_COUNT / 2
            assert await count_rounds(rounds, second) >= ECHO_COUNT
            await first.close()
            assert await count_rounds(rounds, second) >= ECHO_COUNT

    def test_a_loop_that_is_not_as_asyncio_makes_it_is_left_as_it_is(
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """What it does with its selector, or with the time, is not known."""

        class Other(asyncio.SelectorEventLoop):
            """Such as one with a clock of its own."""

        class OtherSelector(selectors.EpollSelector):
            """Such as one that counts."""

        rounds = Rounds(monkeypatch)

        async def main() -> None:
            async with serve_echo() as server:
                await count_rounds(rounds, server)

        def with_changed(name: str) -> asyncio.AbstractEventLoop:
            """Return a loop as asyncio makes it, with another method in a place."""
            loop: Any = asyncio.SelectorEventLoop()
            owner = loop if name == "time" else loop._selector
            setattr(owner, name, getattr(owner, name))
            return cast("asyncio.AbstractEventLoop", loop)

        for make in (
            Other,
            lambda: asyncio.SelectorEventLoop(OtherSelector()),
            partial(with_changed, "time"),
            partial(with_changed, "select"),
        ):
            with asyncio.Runner(loop_factory=make) as runner:
                runner.run(main())
        assert not rounds.count

    def test_a_task_goes_on_without_a_round_of_its_loop(monkeypatch: pytest.MonkeyPatch) -> None:
        rounds = Rounds(monkeypatch)

        async def main(url: str) -> int:
            async with sockwave.connect(url, engine="epoll") as conn:
                conn.send("on")
                await conn.receive()
                before = rounds.count
                for number in range(ECHO_COUNT):
                    conn.send(str(number))
                    assert await conn.receive() == str(number)
                return rounds.count - before

        with serving("echo", "--host", "127.0.0.1", "--port", "0") as (_, url):
            assert asyncio.run(main(f"ws://127.0.0.1:{port_of(url)}")) < ECHO_COUNT / 2

    def test_a_client_has_the_wait_of_its_loop(monkeypatch: pytest.MonkeyPatch) -> None:
        rounds = Rounds(monkeypatch)
        told: list[int] = []

        async def main(url: str) -> None:
            is_done = asyncio.Event()
            async with sockwave.connect(url, engine="epoll") as conn:

                @conn.on("message")
                def message(text: str) -> None:
                    told.append(rounds.count)
                    if len(told) == ECHO_COUNT:
                        is_done.set()
                    else:
                        conn.send(text)

                conn.send("on")
                await asyncio.wait_for(is_done.wait(), PATIENCE_S)

        with serving("echo", "--host", "127.0.0.1", "--port", "0") as (_, url):
            asyncio.run(main(f"ws://127.0.0.1:{port_of(url)}"))
        assert told[-1] - told[0] < ECHO_COUNT / 2
