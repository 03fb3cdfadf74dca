"""Echo with sockwave, a Python listener in the path.

``--listener`` chooses among the ways in which an application can take messages; ``--silent`` makes
it a server that takes them and does nothing, ``--work`` one that computes before it answers.
``--loop run`` is `server.run()`, with the loop that it chooses. ``--reuse-port`` says when it
listens. By default compression is by zlib-ng where that is installed; ``--zlib zlib`` does without.
"""

# A connection's listener is defined when it comes: its annotations would be evaluated each time.
from __future__ import annotations

import argparse
import zlib
from collections.abc import Callable
from typing import Any

from serving import create_context, parse_arguments, run

import sockwave
import sockwave.deflate


def call(conn: sockwave.Connection) -> None:
    @conn.on("message")
    def message(message: str | bytes) -> None:
        conn.send(message)


def call_silent(conn: sockwave.Connection) -> None:
    @conn.on("message")
    def message(message: str | bytes) -> None:
        pass


def call_async(conn: sockwave.Connection) -> None:
    @conn.on("message")
    async def message(message: str | bytes) -> None:
        await conn.send(message)


def call_async_silent(conn: sockwave.Connection) -> None:
    @conn.on("message")
    async def message(message: str | bytes) -> None:
        pass


async def iterate(conn: sockwave.Connection) -> None:
    async for message in conn:
        await conn.send(message)


async def iterate_silent(conn: sockwave.Connection) -> None:
    async for _ in conn:
        pass


LISTENERS = {
    "def": (call, call_silent),
    "async-def": (call_async, call_async_silent),
}
"""What a new connection is given: a listener that echoes, or one that does nothing."""


def create_worker(count: int) -> Callable[[sockwave.Connection], None]:
    """Make an echo that computes, as an application does."""

    def call_working(conn: sockwave.Connection) -> None:
        @conn.on("message")
        def message(message: str | bytes) -> None:
            sum(range(count))
            conn.send(message)

    return call_working


def create_echo(arguments: argparse.Namespace) -> sockwave.Server:
    if arguments.zlib == "zlib":
        sockwave.deflate.library = zlib
    compression = arguments.compression
    if compression and arguments.context:
        compression = sockwave.Deflate(server_context_takeover=True)
    limits: dict[str, Any] = {}
    if arguments.silent:
        limits["control_rate"] = None  # a ping of the load's comes with each batch
    server = sockwave.create_server(
        engine=arguments.engine,
        compression=compression,
        max_size=arguments.max_size,
        max_backlog=2 * arguments.max_size,
        ping_interval=None,
        **limits,
    )
    if arguments.listener == "async-for":
        server.handle_with(iterate_silent if arguments.silent else iterate)
    elif arguments.work:
        server.on("connection", create_worker(arguments.work))
    else:
        server.on("connection", LISTENERS[arguments.listener][arguments.silent])
    if arguments.reuse_port:
        server.on("listening", lambda: print("listening", flush=True))
    server.listen(
        arguments.port,
        "127.0.0.1",
        ssl=create_context(arguments),
        reuse_port=arguments.reuse_port,
    )
    return server


async def main(arguments: argparse.Namespace) -> None:
    await create_echo(arguments).serve_forever()


if __name__ == "__main__":
    arguments = parse_arguments("run")
    if arguments.loop == "run":
        create_echo(arguments).run()
    else:
        run(main(arguments), arguments.loop)
