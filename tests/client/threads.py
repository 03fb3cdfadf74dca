"""Threads without asyncio beside a server in the loop of the test."""

import asyncio
import ctypes
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from wire import PATIENCE_S, wait_until

import sockwave
from sockwave.sync import Connector, TopicConnection

T = TypeVar("T")

SOON = sockwave.Backoff(first=0.001, most=0.002)


def uri_of(server: sockwave.Server) -> str:
    host, port = server.addresses[0]
    return f"ws://{host}:{port}/"


#: A thread may have a thousand things to do: it has as long as the test has.
ASIDE_S = 110.0


async def aside(function: Callable[..., T], *arguments: Any) -> T:
    """Call a function in a thread of its own, while this one serves.

    Where it takes too long it is ended: a client that comes back for ever would keep its thread,
    and that the process.
    """
    at_work: list[int] = []

    def run() -> T:
        at_work.append(threading.get_ident())
        try:
            return function(*arguments)
        finally:
            at_work.clear()

    try:
        async with asyncio.timeout(ASIDE_S):
            return await asyncio.to_thread(run)
    finally:
        for thread in at_work:
            set_error = ctypes.pythonapi.PyThreadState_SetAsyncExc
            set_error(ctypes.c_ulong(thread), ctypes.py_object(SystemExit))


def count_threads() -> int:
    """Count the threads that are ours."""
    return sum("sockwave" in thread.name for thread in threading.enumerate())


class Stage:
    """A server in this thread's loop, and what threads need of it."""

    def __init__(self, server: sockwave.Server, engine: str) -> None:
        self.server = server
        self.engine = engine
        self._loop = asyncio.get_running_loop()

    def connect(self, **options: Any) -> Connector[TopicConnection]:
        return sockwave.sync.connect(
            uri_of(self.server),
            subprotocol="sockwave.1",
            engine=self.engine,
            backoff=SOON,
            **options,
        )

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function in the loop of the server."""

        async def make() -> T:
            return function(*arguments)

        return asyncio.run_coroutine_threadsafe(make(), self._loop).result(PATIENCE_S)

    def publish(self, topic: str, *messages: Any) -> None:
        """Publish on the server, and wait until the last message has its place."""

        async def make() -> None:
            for message in messages:
                outcome = self.server.publish(topic, message)
            await outcome

        asyncio.run_coroutine_threadsafe(make(), self._loop).result(PATIENCE_S)

    def wait_until(self, condition: Callable[[], object]) -> None:
        waiting = wait_until(condition)
        asyncio.run_coroutine_threadsafe(waiting, self._loop).result(PATIENCE_S)

    def cut_all(self) -> None:
        """End all connections, without a word."""
        self.call(lambda: [conn.abort() for conn in self.server.connections])


def take(conn: TopicConnection, count: int) -> list[Any]:
    return [conn.receive_delivery(PATIENCE_S).message for _ in range(count)]
