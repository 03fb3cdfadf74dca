"""A server inside an ordinary program: one that forks, starts processes, and uses threads.

Says its addresses on stdout. What a connection gets depends on its path; GET /state tells how much
the process holds. Ends by SIGTERM, and then says what was handled, and what went wrong.
"""

import argparse
import asyncio
import collections
import concurrent.futures
import contextlib
import contextvars
import gc
import json
import multiprocessing
import os
import ssl
import subprocess
import sys
import threading
import time
import traceback
from typing import Any

import sockwave

#: Whose turn it is: set by each connection, and by each request, for itself alone.
WHO: contextvars.ContextVar[object] = contextvars.ContextVar("WHO", default=None)

#: Children that were forked and hold a copy of every descriptor, at most so many at once.
HOLDER_COUNT = 3
HOLD_S = 1.0
#: How long an asynchronous listener takes.
WORK_S = 0.005


def work(number: int) -> int:
    """What a process pool is given."""
    time.sleep(0.002)
    return number * number


class Program:
    """An application, and all that it does beside its server."""

    def __init__(self, server: sockwave.Server) -> None:
        self.server = server
        self.handled: collections.Counter[str] = collections.Counter()
        self.beside: collections.Counter[str] = collections.Counter()
        self.faults: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.threads: list[threading.Thread] = []
        self.is_over = threading.Event()
        server.on("connection", self.connected)
        server.on("request", self.asked)
        server.on("error", self.failed)

    def failed(self, error: BaseException) -> None:
        """Note what nobody expects here."""
        self.faults.append(repr(error)[:200])
        traceback.print_exception(error)

    # ---- what its clients see

    def connected(self, conn: sockwave.Connection) -> None:
        """Give a connection what its path asks for."""
        if WHO.get() is not None:
            self.faults.append(f"a connection began with what {WHO.get()!r} had set")
        WHO.set(conn.id)
        name = conn.request.query

        def echo(message: str | bytes) -> None:
            self.check(conn)
            self.handled[name] += 1
            conn.send(message)

        async def echo_slowly(message: str | bytes) -> None:
            self.check(conn)
            WHO.set("a call's own")
            await asyncio.sleep(WORK_S)
            self.handled[name] += 1
            with contextlib.suppress(sockwave.ConnectionClosed):
                conn.send(message)

        async def iterate() -> None:
            async for message in conn:
                self.check(conn)
                self.handled[name] += 1
                with contextlib.suppress(sockwave.ConnectionClosed):
                    conn.send(message)

        if conn.request.path == "/async":
            conn.on("message", echo_slowly)
        elif conn.request.path == "/task":
            conn.create_task(iterate())
        else:
            conn.on("message", echo)

    def check(self, conn: sockwave.Connection) -> None:
        """See that nobody else's variables are here."""
        if WHO.get() != conn.id:
            self.faults.append(f"{conn.id} found what {WHO.get()!r} had set")

    async def asked(self, request: Any, response: Any) -> None:
        """Answer with a variable of the request's own, or tell how much the process holds."""
        if request.path == "/state":
            gc.collect()
            response.write_head(200, {"Content-Type": "application/json", "Connection": "close"})
            response.end(json.dumps(self.measure()))
            return
        if WHO.get() is not None:
            self.faults.append(f"a request began with what {WHO.get()!r} had set")
        WHO.set(request.query)
        await asyncio.sleep(0)
        response.write_head(200, {"Content-Type": "text/plain"})
        response.end(str(WHO.get()))

    def measure(self) -> dict[str, Any]:
        """Count what clients may leave behind: the rest of the program comes and goes."""
        kinds = collections.Counter(type(one).__name__ for one in gc.get_objects())
        sockets = 0
        for fd in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                sockets += os.readlink(f"/proc/self/fd/{fd}").startswith("socket:")
        return {
            "connections": len(self.server.connections),
            "carriers": self.server._host.engine.transport_count,
            "sockets": sockets,
            "Connection": kinds["Connection"],
            "faults": self.faults,
            "beside": dict(self.beside),
        }

    # ---- what it does beside

    def begin(self) -> None:
        """Begin with everything that goes on beside the server."""
        loop = asyncio.get_running_loop()
        for _ in range(2):
            self.tasks.append(loop.create_task(self.start_processes()))
        self.tasks.append(loop.create_task(self.use_pool()))
        self.tasks.append(loop.create_task(self.fork_holders()))
        thread = threading.Thread(target=self.call_from_a_thread)
        thread.start()
        self.threads.append(thread)

    async def start_processes(self) -> None:
        """Start one process after the other, in a thread."""
        while not self.is_over.is_set():
            await asyncio.to_thread(subprocess.run, ["/bin/true"], check=True)
            self.beside["processes"] += 1

    async def use_pool(self) -> None:
        """Have a pool of forked processes work, and make a new one now and then."""
        loop = asyncio.get_running_loop()
        context = multiprocessing.get_context("fork")
        while not self.is_over.is_set():
            with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
                for number in range(20):
                    result = await loop.run_in_executor(pool, work, number)
                    if result != number * number:
                        self.faults.append(f"the pool's {number} squared is {result}")
                    self.beside["pool"] += 1
                await asyncio.to_thread(pool.shutdown)

    async def fork_holders(self) -> None:
        """Fork children that live for a while; some are terminated, some end by themselves."""
        context = multiprocessing.get_context("fork")
        while not self.is_over.is_set():
            children = [
                context.Process(target=time.sleep, args=(HOLD_S,)) for _ in range(HOLDER_COUNT)
            ]
            for child in children:
                child.start()
            await asyncio.sleep(HOLD_S / 2)
            children[0].terminate()
            for child in children:
                await asyncio.to_thread(child.join)
            # By a signal, as any process ends that has no handlers of ours.
            if children[0].exitcode != -15:
                self.faults.append(f"a child that was terminated ended with {children[0].exitcode}")
            self.beside["children"] += len(children)

    def call_from_a_thread(self) -> None:
        """Reach the server from a thread, in the ways that there are."""
        while not self.is_over.is_set():
            try:
                self.server.call_threadsafe(len, self.server.connections).result(30)
            except (sockwave.SockwaveError, concurrent.futures.CancelledError):
                return  # the server has ended
            self.beside["calls"] += 1
            time.sleep(0.01)

    def end(self) -> None:
        """Let the threads come to their end; the tasks ended with their loop."""
        self.is_over.set()
        for thread in self.threads:
            thread.join()


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--engine", required=True)
    parser.add_argument("--cert", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--socket", required=True)
    arguments = parser.parse_args()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(arguments.cert, arguments.key)
    server = sockwave.create_server(engine=arguments.engine)
    program = Program(server)
    server.listen(0, "127.0.0.1")
    server.listen(0, "127.0.0.1", ssl=context)
    server.listen(path=arguments.socket)

    def ready() -> None:
        say({"ports": [server.addresses[0][1], server.addresses[1][1]]})
        program.begin()

    server.once("listening", ready)
    server.run()
    program.end()
    say({"handled": program.handled, "faults": program.faults, "beside": program.beside})


def say(record: dict[str, Any]) -> None:
    """Tell the test a line."""
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
