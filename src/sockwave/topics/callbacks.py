"""Calls that a selector's loop makes for a broker's client: what asyncio's loops have of that."""

import contextlib
import heapq
import itertools
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

_Call: TypeAlias = Callable[[], object]


class Timer:
    """A call that is due later."""

    def __init__(self, call: _Call) -> None:
        self.call: _Call | None = call

    def cancel(self) -> None:
        """Have it not called."""
        self.call = None


class Watch:
    """What is called when one descriptor can be read or written."""

    def __init__(self) -> None:
        self.read: _Call | None = None
        self.write: _Call | None = None

    def ready(self, events: int) -> None:
        """Call what is to be called."""
        if events & selectors.EVENT_READ and self.read is not None:
            self.read()
        if events & selectors.EVENT_WRITE and self.write is not None:
            self.write()

    @property
    def events(self) -> int:
        """What is waited for."""
        return (selectors.EVENT_READ if self.read else 0) | (
            selectors.EVENT_WRITE if self.write else 0
        )


class Callbacks:
    """Calls in the turns of a loop over a selector: `run_due` is called once in each turn."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._soon: deque[_Call] = deque()
        self._from_threads: deque[_Call] = deque()
        self._later: list[tuple[float, int, Timer]] = []
        self._serials = itertools.count()
        self._watches: dict[int, Watch] = {}
        self._reader, self._waker = socket.socketpair()
        for one in (self._reader, self._waker):
            one.setblocking(False)
        self.add_reader(self._reader.fileno(), self._take_from_threads)

    def close(self) -> None:
        """Call nothing any more."""
        self._selector.unregister(self._reader)
        self._reader.close()
        self._waker.close()

    # ---- calls

    def call_soon(self, callback: Callable[..., object], *arguments: Any) -> None:
        """Call something in this turn."""
        self._soon.append(partial(callback, *arguments))

    def call_soon_threadsafe(self, callback: Callable[..., object], *arguments: Any) -> None:
        """Call something soon, from another thread. Raises RuntimeError after `close`."""
        self._from_threads.append(partial(callback, *arguments))
        try:
            with contextlib.suppress(BlockingIOError):  # it will wake up as it is
                self._waker.send(b"\0")
        except OSError as error:
            raise RuntimeError("the loop has ended") from error

    def _take_from_threads(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._reader.recv(4096)
        while self._from_threads:
            self._soon.append(self._from_threads.popleft())

    def call_later(self, delay: float, callback: Callable[..., object], *arguments: Any) -> Timer:
        """Call something after so many seconds."""
        timer = Timer(partial(callback, *arguments))
        heapq.heappush(self._later, (time.monotonic() + delay, next(self._serials), timer))
        return timer

    def find_due(self) -> float | None:
        """Return when, by `time.monotonic`, the next call is due; None: none is."""
        if self._soon:
            return 0.0
        return self._later[0][0] if self._later else None

    def run_due(self) -> None:
        """Make the calls that are due, and those that they add for this turn."""
        now = time.monotonic()
        while self._later and self._later[0][0] <= now:
            call = heapq.heappop(self._later)[2].call
            if call is not None:
                call()
        while self._soon:
            self._soon.popleft()()

    # ---- descriptors

    def add_reader(self, fd: int, callback: Callable[..., object], *arguments: Any) -> None:
        """Call something whenever a descriptor can be read."""
        watch = self._watches.setdefault(fd, Watch())
        watch.read = partial(callback, *arguments)
        self._look(fd, watch)

    def remove_reader(self, fd: int) -> None:
        """Call nothing any more when it can be read."""
        watch = self._watches.get(fd)
        if watch is not None:
            watch.read = None
            self._look(fd, watch)

    def add_writer(self, fd: int, callback: Callable[..., object], *arguments: Any) -> None:
        """Call something whenever a descriptor can be written."""
        watch = self._watches.setdefault(fd, Watch())
        watch.write = partial(callback, *arguments)
        self._look(fd, watch)

    def remove_writer(self, fd: int) -> None:
        """Call nothing any more when it can be written."""
        watch = self._watches.get(fd)
        if watch is not None:
            watch.write = None
            self._look(fd, watch)

    def _look(self, fd: int, watch: Watch) -> None:
        """Wait for what there is a call for, and for nothing else."""
        known = fd in self._selector.get_map()
        if not watch.events:
            if known:
                self._selector.unregister(fd)
            del self._watches[fd]
        elif known:
            self._selector.modify(fd, watch.events, watch)
        else:
            self._selector.register(fd, watch.events, watch)
