"""The server under test, in a process of its own.

Says its port on stdout. What a connection gets depends on its path; GET /state tells how much the
process holds. Ends by SIGTERM, as any server does, and then says what it has echoed.
"""

import argparse
import asyncio
import collections
import ctypes
import functools
import gc
import json
import os
import sys
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from called import Called
from gate import Gate

import sockwave
from sockwave.core.io.engine import Engine
from sockwave.core.io.transport import Transport
from sockwave.core.session.calls import Calls

KINDS = (
    *("Connection", "HttpConnection", "Opening", "EpollSocket", "TransportProtocol", "Request"),
    *("HttpCall", "WebSocketCall"),
)


async def receive(conn: sockwave.Connection) -> None:
    """Echo what `receive` gives."""
    while True:
        await conn.send(await conn.receive())


async def iterate(conn: sockwave.Connection) -> None:
    """Echo what `async for` gives."""
    async for message in conn:
        await conn.send(message)


async def stream(conn: sockwave.Connection) -> None:
    """Echo in pieces what comes in pieces."""
    while True:
        incoming = conn.stream()
        async with conn.stream_message("binary") as out:
            async for chunk in incoming:
                await out.write(chunk)


async def ping(conn: sockwave.Connection) -> None:
    """Ask the peer for a pong before each echo."""
    async for message in conn:
        await conn.ping(b"there?")
        await conn.send(message)


LARGE = bytes(256 << 10)


async def upload(request: sockwave.Request, response: sockwave.Response) -> None:
    """Read the body, and answer."""
    await request.body()
    response.end("thanks")


async def ignore(request: sockwave.Request, response: sockwave.Response) -> None:
    """Neither read nor answer."""
    await asyncio.get_running_loop().create_future()


async def send_for_ever(request: sockwave.Request, response: sockwave.Response) -> None:
    """Answer without an end, as fast as the client takes it."""
    while True:
        await response.write(LARGE)


ANSWERS = {"/upload": upload, "/unread": ignore, "/endless": send_for_ever}
TASKS: dict[str, Callable[[sockwave.Connection], Awaitable[None]]] = {
    "/receive": receive,
    "/iterate": iterate,
    "/stream": stream,
    "/ping": ping,
}


def collect() -> None:
    """Free what nobody refers to any more."""
    gc.collect()
    # What glibc keeps of what has been freed is nobody's.
    ctypes.CDLL(None).malloc_trim(0)


class Mallinfo(ctypes.Structure):
    """What glibc tells of its heap: mallinfo(3)."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks"),
            *("fordblks", "keepcost"),
        )
    ]


def count_malloc() -> int:
    """Count the bytes that glibc has given out; those of CPython's own allocator are not in it."""
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = Mallinfo
    told = mallinfo()
    return int(told.uordblks + told.hblkhd)


def is_stranded(task: Any) -> bool:
    """Tell whether a task waits for what is done: asyncio has lost its wake-up, for want of memory.

    Such a task never goes on, and cannot be cancelled; it keeps its connection.
    """
    return task._fut_waiter is not None and task._fut_waiter.done()


class Echo:
    """An application that remembers for whom it has echoed how much."""

    def __init__(self, server: sockwave.Server) -> None:
        self.server = server
        self.tasks: set[asyncio.Task[None]] = set()
        self.echoed: collections.Counter[str] = collections.Counter()
        self.failures: list[str] = []
        server.on("connection", self.connected)
        server.on("request", self.asked)
        server.on("error", self.failed)

    def connected(self, conn: sockwave.Connection) -> None:
        """Give a connection what its path asks for."""
        path = conn.request.path
        if path in TASKS:
            self.attend(self.talk(TASKS[path], conn))
        elif path == "/count":
            conn.on("message", functools.partial(self.count, conn, conn.request.query))
        elif path == "/broadcast":
            conn.on("message", self.server.broadcast)
        else:
            conn.on("message", conn.send)

    def count(self, conn: sockwave.Connection, name: str, message: str | bytes) -> None:
        """Echo a message, and count it.

        No closure: CPython (3.11) loses an argument that it finds no memory for the cell of.
        """
        conn.send(message)
        self.echoed[name] += 1

    def attend(self, talk: Coroutine[Any, Any, None]) -> None:
        """Run a conversation as a task."""
        try:
            task = asyncio.ensure_future(talk)
        except MemoryError:
            # Or CPython warns that nobody has awaited it, in a function of which it loses the
            # argument: see `count`.
            talk.close()
            raise
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def talk(
        self, handler: Callable[[sockwave.Connection], Awaitable[None]], conn: sockwave.Connection
    ) -> None:
        """Run a handler until its connection ends, whichever way."""
        try:
            await handler(conn)
        except sockwave.ConnectionClosed:
            pass
        except Exception as error:
            conn.abort()  # first: to tell of it may fail as well
            self.failed(error)

    def failed(self, error: BaseException) -> None:
        """Keep what went wrong: the faults have it happen."""
        self.failures.append(type(error).__name__)
        traceback.print_exception(error)

    def asked(self, request: Any, response: Any) -> Awaitable[None] | None:
        """Answer as the path has it, or tell how much the process holds."""
        if request.path in ANSWERS:
            return ANSWERS[request.path](request, response)
        if request.path in ("/", "/large"):
            response.write_head(200, {"Content-Type": "text/plain"})
            response.end("hello" if request.path == "/" else LARGE)
            return None
        if request.path == "/collect":
            collect()
        response.write_head(200, {"Content-Type": "application/json", "Connection": "close"})
        response.end(json.dumps(self.measure()))
        return None

    def measure(self) -> dict[str, Any]:
        """Count everything that a connection may leave behind."""
        server: Any = self.server
        kinds = collections.Counter(type(one).__name__ for one in gc.get_objects())
        failures, self.failures = self.failures, []
        return {
            "connections": len(self.server.connections),
            "carriers": server._host.engine.transport_count,
            "openings": len(server._host.openings.under_way),
            "tasks": len(asyncio.all_tasks()),
            "stranded": sum(map(is_stranded, asyncio.all_tasks())),
            "timers": self.count_timers(),
            "descriptors": len(os.listdir("/proc/self/fd")),
            "kinds": {kind: kinds[kind] for kind in KINDS if kind in kinds},
            "failures": collections.Counter(failures),
            "survived": Survivor.count,
            "blocks": sys.getallocatedblocks(),
            "malloc": count_malloc(),
        }

    def count_timers(self) -> int:
        """Count the calls that the loop has promised for later.

        The engine's own next two are one; two more stand in for them where they are late, as they
        are on a machine with much else to do.
        """
        loop: Any = asyncio.get_running_loop()
        handles = [handle for handle in loop._scheduled if not handle.cancelled()]
        # One look at the calls that outlive their connection, which stays when they have ended.
        handles = [
            one
            for one in handles
            if not isinstance(getattr(one._callback, "__self__", None), Calls)
        ]
        ticks = [
            one for one in handles if isinstance(getattr(one._callback, "__self__", None), Engine)
        ]
        return len(handles) - len(ticks) + max(1, len(ticks) - 3)


class Survivor:
    """What asyncio's own loop cannot survive, caught for it.

    A MemoryError where the loop takes stock ends it; one where it is about to make a call that it
    has promised (a step of a task, a transport's farewell) loses that call, and with it the task or
    the transport. That is Python's affair: the faults count how often it happened, and go on. Calls
    of the core's own are lost as they are: it has to find that out.
    """

    count = 0

    @classmethod
    def install(cls) -> None:
        """Let the loops of this process go on behind a MemoryError of their own."""
        once = asyncio.BaseEventLoop._run_once  # type: ignore[attr-defined]
        run = asyncio.Handle._run  # type: ignore[attr-defined]

        run_open = Gate.opened(run)

        def run_once(loop: asyncio.BaseEventLoop) -> None:
            was_lost = False
            while True:
                try:
                    cls.count += was_lost
                    once(loop)
                    return
                except (MemoryError, SystemError):
                    was_lost = True

        def run_handle(handle: Any) -> None:
            callback = handle._callback
            if isinstance(getattr(callback, "__self__", None), (Engine, Transport)):
                # What accepts is closed to faults: CPython loses the descriptor that it finds no
                # object for. `connection_made` opens the gate by itself.
                is_open = callback.__name__ not in ("_accept", "<lambda>")
                (run_open if is_open else run)(handle)
                return
            was_lost = False
            while True:
                try:
                    cls.count += was_lost
                    handle._context.run(callback, *handle._args)
                    return
                except (MemoryError, SystemError):  # the latter: CPython lost the former
                    was_lost = True
                except (KeyboardInterrupt, SystemExit):
                    raise
                except BaseException:
                    traceback.print_exc()
                    return

        def call_soon(loop: Any, callback: Any, *arguments: Any, **more: Any) -> Any:
            was_lost = False
            while True:
                try:
                    cls.count += was_lost
                    return schedule(loop, callback, *arguments, **more)
                except (MemoryError, SystemError):
                    if isinstance(getattr(callback, "__self__", None), (Engine, Transport)):
                        raise
                    was_lost = True

        schedule = asyncio.BaseEventLoop.call_soon
        asyncio.BaseEventLoop.call_soon = call_soon  # type: ignore[method-assign]
        asyncio.BaseEventLoop._run_once = run_once  # type: ignore[attr-defined]
        asyncio.Handle._run = run_handle  # type: ignore[attr-defined]


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--engine", required=True)
    parser.add_argument("--options", type=json.loads, default={})
    parser.add_argument("--close-options", type=json.loads, default={})
    parser.add_argument("--asgi", action="store_true", help="an ASGI application takes everything")
    parser.add_argument("--survive", action="store_true")
    parser.add_argument("--gate", type=int, help="where in the shim's page")
    arguments = parser.parse_args()
    if arguments.survive:
        Survivor.install()
    if arguments.gate is not None:
        Gate.install(arguments.gate)
    server = sockwave.create_server(engine=arguments.engine, **arguments.options)
    if arguments.close_options:
        # SIGTERM closes the server as it is: with times that a test can wait for.
        close: Any = functools.partial(server.close, **arguments.close_options)
        server.close = close  # type: ignore[method-assign]
    echo = Echo(server)
    if arguments.asgi:
        server.mount("/", Called(LARGE, echo.measure, collect))
    server.on("listening", lambda: say({"port": server.addresses[0][1]}))
    server.listen(0, "127.0.0.1")
    server.run()
    say({"echoed": echo.echoed})


def say(record: dict[str, Any]) -> None:
    """Tell the test a line."""
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
