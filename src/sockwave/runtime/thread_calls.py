"""What other threads, and signal handlers, ask of a server: calls that its loop makes for them."""

import asyncio
import functools
import inspect
import logging
import signal
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future
from types import CodeType, FrameType
from typing import Any, Protocol, TypeVar

from sockwave.errors import ConnectionClosed, SockwaveError

logger = logging.getLogger("sockwave")

T = TypeVar("T")

# For a timer that is not to run: it is there to go when its loop goes.
NEVER_S = 1e9


class LoopEnded(SockwaveError):  # noqa: N818  (says what happened)
    """What a call is ended with that the loop did not live to make, or to see the end of."""

    def __init__(self) -> None:
        super().__init__("the server's loop has ended: expected a call while it runs")


class ThreadFuture(Future[T]):
    """The result of a call from another thread; a task of another loop may await it.

    What it raises and nobody asks for is logged, but for what the end of a connection, or of the
    loop, raises.
    """

    _unseen: BaseException | None = None

    def set_exception(self, exception: BaseException | None) -> None:
        """Give up; see `concurrent.futures.Future`."""
        if not isinstance(exception, (ConnectionClosed, LoopEnded)):
            self._unseen = exception
        super().set_exception(exception)

    def result(self, timeout: float | None = None) -> T:
        """Wait for the result, at most `timeout` seconds, and give or raise it."""
        result = None
        try:
            result = super().result(timeout)
        finally:
            self._note_seen()
        return result

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the end, at most `timeout` seconds, and give the exception, or None."""
        exception = super().exception(timeout)
        self._note_seen()
        return exception

    def _note_seen(self) -> None:
        if self.done():
            self._unseen = None

    def __await__(self) -> Generator[Any, None, T]:
        return asyncio.wrap_future(self).__await__()

    def __del__(self) -> None:
        if self._unseen is not None:
            logger.error("error in a call from another thread", exc_info=self._unseen)


def handles_signal() -> bool:
    """Tell whether this is called by a handler of `signal.signal`, which interrupts anything.

    A handler that is no Python function is taken for what it has interrupted.
    """
    if threading.current_thread() is not threading.main_thread():
        return False  # "Python signal handlers are always executed in the main Python thread"
    handlers = {code_of(signal.getsignal(number)) for number in signal.valid_signals()} - {None}
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code not in handlers:
        frame = frame.f_back
    return frame is not None


def code_of(handler: object) -> CodeType | None:
    """Give the code of a Python function, a method, a partial or a callable object."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    if callable(handler) and not hasattr(handler, "__code__"):
        handler = type(handler).__call__
    return getattr(handler, "__code__", None)


class Order(Protocol):
    """Something that another thread wants done."""

    def carry_out(self) -> None:
        """Do it, in the loop; what it raises ends the program."""

    def give_up(self) -> None:
        """Take note that it will not be done."""


class Call:
    """One call whose result is wanted."""

    def __init__(
        self, calls: "ThreadCalls", function: Callable[..., object], args: tuple[object, ...]
    ) -> None:
        self.future: ThreadFuture[Any] = ThreadFuture()
        self._calls = calls
        self._function = function
        self._args = args

    def carry_out(self) -> None:
        """Make the call; what it gives is awaited where that is possible."""
        if self.future.cancelled():
            return
        try:
            result = self._function(*self._args)
            if inspect.isawaitable(result):
                self._wait(asyncio.ensure_future(result))
            else:
                self._settle(result, None)
        except BaseException as error:
            self._settle(None, error)
            if not isinstance(error, Exception | asyncio.CancelledError):
                raise

    def _wait(self, task: "asyncio.Future[object]") -> None:
        """Wait for what the call has given; who cancels the future cancels that."""
        loop = asyncio.get_running_loop()
        self._calls.hold(self)
        task.add_done_callback(self._end)

        def cancelled(future: Future[object]) -> None:
            if future.cancelled() and not loop.is_closed():
                loop.call_soon_threadsafe(task.cancel)

        self.future.add_done_callback(cancelled)

    def _end(self, task: "asyncio.Future[object]") -> None:
        self._calls.let_go(self)
        if task.cancelled():
            self.future.cancel()
            self.future.set_running_or_notify_cancel()
        else:
            error = task.exception()
            self._settle(None if error else task.result(), error)

    def _settle(self, result: object, error: BaseException | None) -> None:
        """Tell who waits, unless nobody does any more."""
        if self.future.done() or not self.future.set_running_or_notify_cancel():
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)

    def give_up(self) -> None:
        """Tell who waits that the loop is gone."""
        self._settle(None, LoopEnded())


class Unfinished:
    """Calls whose results are awaited. The loop alone holds it: they end when it goes."""

    def __init__(self) -> None:
        self.calls: set[Call] = set()

    def __call__(self) -> None:
        """Do nothing: the time never comes."""

    def __del__(self) -> None:
        for call in self.calls:
            call.give_up()


class Promise:
    """One wake-up of the loop, for all that is ordered until then."""

    def __init__(self, calls: "ThreadCalls") -> None:
        self._calls: ThreadCalls | None = calls

    def __call__(self) -> None:
        """Carry out the orders."""
        calls, self._calls = self._calls, None
        if calls is not None:
            calls.carry_out()

    def __del__(self) -> None:
        if self._calls is not None:  # the loop was closed before it came to it
            self._calls.give_up()


class ThreadCalls:
    """What other threads want of one server, in the order in which they have asked.

    Nothing here takes a lock: a signal handler may interrupt any of it, and ask as well.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[Order] = deque()
        self._is_promised = False
        # The loop holds both; here they are only known.
        self._unfinished: weakref.ref[Unfinished] | None = None
        self._timer: weakref.ref[asyncio.TimerHandle] | None = None

    def call(self, function: Callable[..., object], args: tuple[object, ...]) -> ThreadFuture[Any]:
        """Have a call made in the next turn of the loop.

        Raises SockwaveError when the loop has been closed.
        """
        call = Call(self, function, args)
        self.order(call)
        return call.future

    def order(self, order: Order) -> None:
        """Have something done in the next turn of the loop, by one wake-up for all that is ordered.

        Raises SockwaveError when the loop has been closed.
        """
        self._waiting.append(order)
        # Not before: who sees that it is promised is sure to be seen by who keeps the promise.
        if not self._is_promised:
            self._promise()

    def _promise(self) -> None:
        try:
            self._is_promised = True
            self._loop.call_soon_threadsafe(Promise(self))
        except RuntimeError:
            self.give_up()
            raise LoopEnded from None
        except BaseException:
            self._is_promised = False
            raise

    def carry_out(self) -> None:
        """Do what has been ordered until now; more of it comes in the next turn."""
        self._is_promised = False
        try:
            for _ in range(len(self._waiting)):
                self._waiting.popleft().carry_out()
        finally:
            if self._waiting and not self._is_promised:
                self._promise()

    def give_up(self) -> None:
        """Tell who waits that the loop is gone."""
        self._is_promised = False
        while self._waiting:
            self._waiting.popleft().give_up()

    def hold(self, call: Call) -> None:
        """Keep a call until its result is there, or the loop is gone."""
        unfinished = None if self._unfinished is None else self._unfinished()
        if unfinished is None:
            unfinished = Unfinished()
            self._unfinished = weakref.ref(unfinished)
            self._timer = weakref.ref(self._loop.call_later(NEVER_S, unfinished))
        unfinished.calls.add(call)

    def let_go(self, call: Call) -> None:
        """Keep it no more."""
        unfinished = None if self._unfinished is None else self._unfinished()
        if unfinished is None:
            return
        unfinished.calls.discard(call)
        timer = None if self._timer is None else self._timer()
        if not unfinished.calls and timer is not None:
            timer.cancel()
            self._unfinished = None
