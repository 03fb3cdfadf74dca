"""Calls that other threads and signal handlers have the server's loop make."""

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

# The delay of a timer that never runs: the loop keeps it, and drops it when the loop itself ends.
NEVER_S = 1e9


class LoopEnded(SockwaveError):  # noqa: N818  (says what happened)
    """Raised by a call whose loop ended before the call was made, or its result was there."""

    def __init__(self) -> None:
        super().__init__("the server's loop has ended: expected a call while it runs")


class ThreadFuture(Future[T]):
    """The result of a call from another thread; a task of another loop may await it.

    An exception that is never retrieved is logged, unless it is ConnectionClosed or LoopEnded.
    """

    _unseen: BaseException | None = None

    def set_exception(self, exception: BaseException | None) -> None:
        """Fail the call; see `concurrent.futures.Future`."""
        if not isinstance(exception, (ConnectionClosed, LoopEnded)):
            self._unseen = exception
        super().set_exception(exception)

    def result(self, timeout: float | None = None) -> T:
        """Wait for the result, at most `timeout` seconds, and return or raise it."""
        result = None
        try:
            result = super().result(timeout)
        finally:
            self._note_seen()
        return result

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the end, at most `timeout` seconds, and return the exception, or None."""
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
    """Tell whether a handler of `signal.signal` calls this: it may have interrupted any code.

    A handler that is no Python function is not recognised.
    """
    if threading.current_thread() is not threading.main_thread():
        return False  # "Python signal handlers are always executed in the main Python thread"
    handlers = {code_of(signal.getsignal(number)) for number in _list_signals()} - {None}
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code not in handlers:
        frame = frame.f_back
    return frame is not None


@functools.cache
def _list_signals() -> tuple[int, ...]:
    """Return the numbers of all signals: to make `signal.Signals` of them each time takes long."""
    return tuple(map(int, signal.valid_signals()))


def code_of(handler: object) -> CodeType | None:
    """Return the code of a Python function, a method, a partial or a callable object."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    if callable(handler) and not hasattr(handler, "__code__"):
        handler = type(handler).__call__
    return getattr(handler, "__code__", None)


class Job(Protocol):
    """Work that another thread submits to the loop."""

    def run(self) -> None:
        """Do the work, in the loop; what this raises ends the program."""

    def loop_ended(self) -> None:
        """Fail the job, as the loop has ended before it could run."""


class Call:
    """The job of calling a function, whose result the submitting thread gets by `future`."""

    def __init__(
        self,
        calls: "ThreadCalls",
        function: Callable[..., object],
        args: tuple[object, ...],
        has_happened: Callable[[], bool],
    ) -> None:
        self.future: ThreadFuture[Any] = ThreadFuture()
        self._calls = calls
        self._function = function
        self._args = args
        self._has_happened = has_happened

    def run(self) -> None:
        """Make the call, and await its result if that is awaitable."""
        if self.future.cancelled():
            return
        try:
            result = self._function(*self._args)
            if inspect.isawaitable(result):
                self._wait(asyncio.ensure_future(result))
            else:
                self._set_outcome(result, None)
        except BaseException as error:
            self._set_outcome(None, error)
            if not isinstance(error, Exception | asyncio.CancelledError):
                raise

    def _wait(self, task: "asyncio.Future[object]") -> None:
        """Wait for the awaitable that the call returned; to cancel the future cancels it."""
        loop = asyncio.get_running_loop()
        self._calls.track(self)
        task.add_done_callback(self._end)

        def cancelled(future: Future[object]) -> None:
            if future.cancelled() and not loop.is_closed():
                loop.call_soon_threadsafe(task.cancel)

        self.future.add_done_callback(cancelled)

    def _end(self, task: "asyncio.Future[object]") -> None:
        self._calls.untrack(self)
        if task.cancelled() and self._has_happened():
            self._set_outcome(None, None)
        elif task.cancelled():
            self.future.cancel()
            self.future.set_running_or_notify_cancel()
        else:
            error = task.exception()
            self._set_outcome(None if error else task.result(), error)

    def _set_outcome(self, result: object, error: BaseException | None) -> None:
        """Set the outcome of the future, unless it has been cancelled."""
        if self.future.done() or not self.future.set_running_or_notify_cancel():
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)

    def loop_ended(self) -> None:
        """Fail the future with LoopEnded, unless what it stands for has happened."""
        self._set_outcome(None, None if self._has_happened() else LoopEnded())


class AwaitedCalls:
    """Calls whose results are being awaited, which fail when the loop ends.

    Only a timer of the loop refers to this object: it is deleted together with the loop.
    """

    def __init__(self) -> None:
        self.calls: set[Call] = set()

    def __call__(self) -> None:
        """Do nothing: the timer never runs."""

    def __del__(self) -> None:
        for call in self.calls:
            call.loop_ended()


class WakeUp:
    """One callback of the loop, for all jobs that are submitted until it runs."""

    def __init__(self, calls: "ThreadCalls") -> None:
        self._calls: ThreadCalls | None = calls

    def __call__(self) -> None:
        """Run the submitted jobs."""
        calls, self._calls = self._calls, None
        if calls is not None:
            calls.run_submitted()

    def __del__(self) -> None:
        if self._calls is not None:  # the loop was closed before it called this
            self._calls.loop_ended()


class ThreadCalls:
    """The jobs that other threads have submitted to one server's loop, in their order.

    Nothing here takes a lock: a signal handler may interrupt any of it, and submit a job as well.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._submitted: deque[Job] = deque()
        self._is_waking = False
        # Weak: the loop alone keeps both alive.
        self._awaited: weakref.ref[AwaitedCalls] | None = None
        self._timer: weakref.ref[asyncio.TimerHandle] | None = None

    def call(
        self,
        function: Callable[..., object],
        args: tuple[object, ...],
        has_happened: Callable[[], bool] = lambda: False,
    ) -> ThreadFuture[Any]:
        """Call `function(*args)` in the next turn of the loop; return the future of its result.

        That is None where the loop ends first, and `has_happened()` says that what the call is to
        wait for has come all the same. Otherwise raises SockwaveError when the loop has been
        closed.
        """
        call = Call(self, function, args, has_happened)
        try:
            self.submit(call)
        except LoopEnded:
            if not has_happened():
                raise
        return call.future

    def submit(self, job: Job) -> None:
        """Run a job in the next turn of the loop; one wake-up serves all jobs until then.

        Raises SockwaveError when the loop has been closed.
        """
        self._submitted.append(job)
        # Checked after the append: a wake-up that is still pending here will run this job as well.
        if not self._is_waking:
            self._wake_loop()

    def _wake_loop(self) -> None:
        try:
            self._is_waking = True
            self._loop.call_soon_threadsafe(WakeUp(self))
        except RuntimeError:
            self.loop_ended()
            raise LoopEnded from None
        except BaseException:
            self._is_waking = False
            raise

    def run_submitted(self) -> None:
        """Run the jobs submitted so far; those submitted meanwhile run in the next turn."""
        self._is_waking = False
        try:
            for _ in range(len(self._submitted)):
                self._submitted.popleft().run()
        finally:
            if self._submitted and not self._is_waking:
                self._wake_loop()

    def loop_ended(self) -> None:
        """Tell the submitted jobs that the loop has ended."""
        self._is_waking = False
        while self._submitted:
            self._submitted.popleft().loop_ended()

    def track(self, call: Call) -> None:
        """Keep a call until its result is there, or the loop has ended."""
        awaited = None if self._awaited is None else self._awaited()
        if awaited is None:
            awaited = AwaitedCalls()
            self._awaited = weakref.ref(awaited)
            self._timer = weakref.ref(self._loop.call_later(NEVER_S, awaited))
        awaited.calls.add(call)

    def untrack(self, call: Call) -> None:
        """Drop a call whose result is there."""
        awaited = None if self._awaited is None else self._awaited()
        if awaited is None:
            return
        awaited.calls.discard(call)
        timer = None if self._timer is None else self._timer()
        if not awaited.calls and timer is not None:
            timer.cancel()
            self._awaited = None
