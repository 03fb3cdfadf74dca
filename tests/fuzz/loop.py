"""An event loop that waits for nothing: its time moves when it is told to.

The asyncio engine runs in it unchanged, so that a fuzzer feeds bytes to real connections, in one
process, as fast as they can be read, and every run of the same bytes is the same run.
"""

import asyncio
import collections
import contextvars
import heapq
import socket
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

Context = contextvars.Context | None


class MemoryLoop(asyncio.AbstractEventLoop):
    """What `asyncio` and the asyncio engine need of a loop, without a selector."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.failures: list[BaseException] = []
        self.factory: Callable[[], Any] | None = None
        self._ready: collections.deque[asyncio.Handle] = collections.deque()
        self._timers: list[asyncio.TimerHandle] = []

    # ---- what asyncio asks for

    def time(self) -> float:
        return self.now

    def get_debug(self) -> bool:
        return False

    def get_task_factory(self) -> None:
        """Tell that tasks are made in no way of anybody's own."""

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, timer)
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        return asyncio.Task(coro, loop=self, **options)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.failures.append(context.get("exception") or RuntimeError(context["message"]))

    async def create_server(  # type: ignore[override]
        self, factory: Callable[[], Any], *, sock: socket.socket
    ) -> socket.socket:
        """Keep what makes the protocol of each connection, in place of accepting any."""
        self.factory = factory
        return sock

    # ---- what drives it

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine that has nothing to wait for, and give its result."""
        with running(self):
            task = self.create_task(coroutine)
            self.run_ready()
        result: T = task.result()
        return result

    def run_ready(self) -> bool:
        """Run until nothing is left to do at this moment; tell whether there was anything."""
        was_busy = False
        while self._ready or (self._timers and self._timers[0].when() <= self.now):
            was_busy = True
            while self._timers and self._timers[0].when() <= self.now:
                self._ready.append(heapq.heappop(self._timers))
            # Those of one turn; what they add is for the next, as in asyncio's own loop.
            for _ in range(len(self._ready)):
                handle = self._ready.popleft()
                if not handle.cancelled():
                    handle._run()
        return was_busy

    def skip_to_next_timer(self, end: float) -> bool:
        """Let time pass up to the next timer, at least a second; tell whether it is before `end`.

        The engine's ticks are not worth looking at one by one.
        """
        if not self._timers or self._timers[0].when() > end:
            self.now = max(self.now, end)
            return False
        self.now = max(self._timers[0].when(), self.now + 1.0)
        return True


class running:  # noqa: N801 - reads as a verb, like contextlib's
    """Make a MemoryLoop the running one of this thread for a while."""

    def __init__(self, loop: MemoryLoop) -> None:
        self._loop = loop
        self._previous: asyncio.AbstractEventLoop | None = None

    def __enter__(self) -> None:
        self._previous = asyncio._get_running_loop()
        asyncio._set_running_loop(self._loop)

    def __exit__(self, *_: object) -> None:
        asyncio._set_running_loop(self._previous)
