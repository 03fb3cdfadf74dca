"""Signals that a loop handles while a server runs, and the handlers that were there before."""

import asyncio
import contextlib
import functools
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any

#: What ends a program: Ctrl-C, and what `kill`, Docker and service managers send.
ENDING_NAMES = ("SIGINT", "SIGTERM")

# A signal that the loop has not handled after so many seconds: a listener blocks it. The next one
# ends the program where it is.
BLOCKED_S = 1.0


class Handler:
    """Has a loop handle one signal, until it gives the signal back to the handler before."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, number: signal.Signals, call: Callable[[], object]
    ) -> None:
        """Take a signal; raises ValueError outside the main thread."""
        self._loop = loop
        self._number = number
        self._call = call
        self._before: Any = signal.getsignal(number)
        # When a signal came that the loop has yet to handle.
        self._noted: float | None = None
        # What the loop itself sets for the signals that it handles; None: it handles none.
        self._of_loop: object = None
        with contextlib.suppress(NotImplementedError):  # Windows: `__call__` wakes the loop
            # It wakes the loop, also where the signal comes just before the loop begins to wait.
            loop.add_signal_handler(number, self._run)
            self._of_loop = signal.getsignal(number)
        signal.signal(number, self)

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        """Note a signal; end the program if the loop has not handled an earlier one."""
        now = time.monotonic()
        if self._noted is None:
            self._noted = now
        elif now - self._noted >= BLOCKED_S:
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
        if self._of_loop is None:
            self._loop.call_soon_threadsafe(self._run)

    def _run(self) -> None:
        """Handle a signal, in the loop."""
        self._noted = None
        now: object = signal.getsignal(self._number)
        if now is self:  # else the program has set another meanwhile
            self._call()

    def give_back(self) -> None:
        """Let the handler from before have the signal, unless the program has set another."""
        now: Any = signal.getsignal(self._number)
        if now == self._of_loop:  # the program has had the loop handle it
            return
        after = self._before if now is self else now
        # Without a moment in which the default ends the program.
        mask = getattr(signal, "pthread_sigmask", lambda *_: None)
        before = mask(getattr(signal, "SIG_BLOCK", 0), {self._number})
        try:
            if self._of_loop is not None:
                self._loop.remove_signal_handler(self._number)
            # None: it was not set by Python, which cannot set it again.
            signal.signal(self._number, after or signal.SIG_DFL)
        finally:
            mask(getattr(signal, "SIG_SETMASK", 0), before)


@contextlib.contextmanager
def signal_handlers(handlers: "Mapping[str, Callable[[], object]]") -> Iterator[None]:
    """Handle signals, given by name, in the running loop as long as the context lasts.

    Afterwards they have the handlers from before. Nothing happens outside the main thread, and for
    signals that the system does not have.
    """
    taken = take(handlers)
    try:
        yield
    finally:
        for handler in taken:
            handler.give_back()


def take(handlers: "Mapping[str, Callable[[], object]]") -> list[Handler]:
    """Have the running loop handle signals, given by name, and return what gives them back."""
    loop = asyncio.get_running_loop()
    taken: list[Handler] = []
    if threading.current_thread() is not threading.main_thread():
        return taken
    for name, call in handlers.items():
        number = getattr(signal, name, None)
        if number is not None:
            # It is the main thread of another interpreter, or a signal that cannot be handled.
            with contextlib.suppress(ValueError, RuntimeError, OSError):
                taken.append(Handler(loop, number, call))
    return taken


def is_default(name: str) -> bool:
    """Tell whether a signal does what it does in any program: nobody has set a handler for it.

    `asyncio.run` sets one for SIGINT, by which Ctrl-C cancels the main task.
    """
    handler = signal.getsignal(getattr(signal, name))
    if name != "SIGINT":
        return handler is signal.SIG_DFL
    owner = getattr(getattr(handler, "func", None), "__self__", None)
    of_asyncio = isinstance(handler, functools.partial) and isinstance(owner, asyncio.Runner)
    return of_asyncio or handler is signal.default_int_handler


class Interrupts:
    """SIGINT and SIGTERM of one loop: taken for the first that asks, given back after the last."""

    def __init__(self) -> None:
        self._count = 0
        self._taken: list[Handler] = []
        #: Whether a signal has come.
        self.have_come = False

    def enter(self, interrupt: Callable[[str], object]) -> None:
        """Have `interrupt` called, in the running loop, unless that is so already."""
        self._count += 1
        if self._count > 1:
            return
        self.have_come = False

        def come(name: str) -> None:
            self.have_come = True
            interrupt(name)

        names = filter(is_default, ENDING_NAMES)
        self._taken = take({name: functools.partial(come, name) for name in names})

    def leave(self) -> None:
        """Give the signals back, once all that have entered have left."""
        self._count -= 1
        if not self._count:
            for handler in self._taken:
                handler.give_back()
            self._taken = []


_interrupts: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Interrupts]" = (
    weakref.WeakKeyDictionary()
)


@contextlib.contextmanager
def taking_interrupts(interrupt: Callable[[str], object]) -> Iterator[Interrupts]:
    """Call `interrupt`, in the running loop, with the name of each signal, in this context.

    Signals for which the program has a handler are left to it.
    """
    one = _interrupts.setdefault(asyncio.get_running_loop(), Interrupts())
    one.enter(interrupt)
    try:
        yield one
    finally:
        one.leave()
