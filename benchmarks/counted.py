"""The server whose instructions `instructions.py` counts: one for all questions.

The first connection tells what to do, and each echo says that it was done: "zero" sets callgrind's
counter back, "dump" has it written, "collect" collects garbage, and the name of a listener gives
that to every connection from then on. It runs under valgrind, but runs without it too.

Nothing here depends on the time: the clock stands still, and no timer ever fires. Nor does it
depend on when garbage is collected: it is not, unless sockwave asks for it.
"""

# A connection's listener is defined when it comes: its annotations would be evaluated each time.
from __future__ import annotations

import argparse
import asyncio
import contextvars
import ctypes
import gc
import itertools
import sys
import time
import zlib
from collections.abc import Callable
from typing import Any

START_S = 1000.0
"""What the clock shows; it is late enough for nothing to be younger than the clock."""
NEVER_S = 1e6

# How long something took, or may take, sockwave asks by what `time` has when it is imported.
time.perf_counter = time.monotonic = itertools.repeat(START_S).__next__

import sockwave  # noqa: E402
import sockwave.deflate  # noqa: E402

Listener = Callable[[sockwave.Connection], None]
"""What a new connection is given."""
UNABLE = 77
"""The status with which it ends if it cannot do what it is asked (peers/serving.py)."""
GREETING = b"We can handle normal http connections too!\n"


class SteadyLoop(asyncio.SelectorEventLoop):
    """A loop in which no time passes."""

    time = itertools.repeat(START_S).__next__

    def call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        return super().call_later(delay + NEVER_S, callback, *args, context=context)


def call(conn: sockwave.Connection) -> None:
    @conn.on("message")
    def message(message: str | bytes) -> None:
        conn.send(message)


def call_async(conn: sockwave.Connection) -> None:
    @conn.on("message")
    async def message(message: str | bytes) -> None:
        await conn.send(message)


async def answer(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer as the listener of `request` does, behind ASGI."""
    assert scope["type"] == "http"
    fields = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(GREETING))]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": GREETING})


def create_asgi(**options: Any) -> sockwave.Server:
    """Create a server with an ASGI application; WebSockets still go to the listeners."""
    try:
        return sockwave.create_server(asgi=answer, **options)
    except TypeError as error:
        if "option 'asgi'" not in str(error):
            raise
        print(f"this sockwave runs no ASGI applications: {error}", file=sys.stderr)
        sys.exit(UNABLE)


def create_server(arguments: argparse.Namespace) -> sockwave.Server:
    """Create the server; it listens."""
    if arguments.zlib == "zlib":
        sockwave.deflate.library = zlib
    create = create_asgi if arguments.asgi else sockwave.create_server
    server = create(
        engine=arguments.engine,
        compression=sockwave.Deflate(server_context_takeover=True, client_context_takeover=True),
        ping_interval=None,
    )
    counter = ctypes.CDLL(arguments.counter)
    orders: dict[str, Callable[[], object]] = {
        "zero": counter.counter_zero,
        "dump": counter.counter_dump,
        "collect": gc.collect,
    }

    def call_broadcast(conn: sockwave.Connection) -> None:
        conn.on("message", server.broadcast)

    def call_nothing(conn: sockwave.Connection) -> None:
        pass

    listeners: dict[str, Listener] = {
        "def": call,
        "async-def": call_async,
        "broadcast": call_broadcast,
        "nothing": call_nothing,
    }
    latest: list[Listener] = []

    def obey(conn: sockwave.Connection) -> None:
        @conn.on("message")
        def message(message: str) -> None:
            if message in orders:
                orders[message]()
            else:
                latest[:] = [listeners[message]]
            conn.send(message)

    latest.append(obey)

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        latest[0](conn)

    if not arguments.asgi:

        @server.on("request")
        def request(request: Any, response: Any) -> None:
            response.write_head(200, {"Content-Type": "text/plain"})
            response.end(GREETING)

    server.listen(arguments.port, "127.0.0.1")
    return server


async def main(arguments: argparse.Namespace) -> None:
    await create_server(arguments).serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--counter", required=True, help="counter.c, compiled")
    parser.add_argument("--engine", choices=["epoll", "asyncio"], default="epoll")
    parser.add_argument("--zlib", choices=["default", "zlib"], default="default")
    parser.add_argument("--asgi", action="store_true", help="requests go to an application")
    parser.add_argument("--watched", action="store_true", help="by another loop than asyncio's")
    arguments = parser.parse_args()
    gc.disable()
    if arguments.engine == "epoll" and not arguments.watched:
        # So that the core takes it for asyncio's own, and has its wait. With a next timer that is
        # so late it would have lost the core's ticks, which would be promised anew in each turn.
        asyncio.SelectorEventLoop = SteadyLoop
        NEVER_S = 0.0
    with asyncio.Runner(loop_factory=SteadyLoop) as runner:
        runner.run(main(arguments))
