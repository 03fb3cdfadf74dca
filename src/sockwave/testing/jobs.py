"""The threads that work for a loop with a virtual clock, and for how long they are waited for."""

import functools
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, TypeVar

Result = TypeVar("Result")

# In seconds of the real clock: so long nothing may come of threads, before time passes all the
# same. The first is for those that wait for the loop, the second for all.
_ANSWER_S = 0.02
_PATIENCE_S = 10.0


class Jobs:
    """The threads that work for one loop: while they do, its clock stands still.

    A thread that has called the loop and waits for it, as `run_coroutine_threadsafe(...).result()`
    does, waits for its clock as well.
    """

    def __init__(self) -> None:
        self._count = 0
        #: Threads of ours, by their ids, and whether they have called the loop.
        self._has_called: dict[int, bool] = {}
        self._is_overdue = False

    def begin(self) -> None:
        """Count one more."""
        self._count += 1
        self.be_patient()

    def end(self, _: object = None) -> None:
        """Count one less."""
        self._count -= 1

    def prepare(
        self, executor: Executor | None, job: Callable[..., Result]
    ) -> Callable[..., Result]:
        """Return the job such that its thread is known, where the executor has threads."""
        if executor is None or isinstance(executor, ThreadPoolExecutor):
            return functools.partial(self._work, job)
        return job

    def _work(self, job: Callable[..., Result], *args: Any) -> Result:
        number = threading.get_ident()
        self._has_called[number] = False
        try:
            return job(*args)
        finally:
            del self._has_called[number]

    def note_call(self) -> None:
        """Note that the thread which runs now has called the loop."""
        number = threading.get_ident()
        if number in self._has_called:
            self._has_called[number] = True

    def wait(self, select: Callable[[float], list[Any]], *, is_all: bool) -> list[Any]:
        """Wait until something comes of them, and return it; nothing: let the time pass.

        `select` waits for so many real seconds at most, and returns what has come; `is_all` tells
        that nothing else could come, not even time.
        """
        if is_all:
            self.be_patient()
        end = time.monotonic() + (_ANSWER_S if self._is_overdue else _PATIENCE_S)
        while self._count:
            have_called = self._have_called() and not is_all
            left = max(end - time.monotonic(), 0.0)
            if ready := select(min(left, _ANSWER_S) if have_called else left):
                self.be_patient()
                return ready
            if have_called and self._are_waiting():
                break
            if time.monotonic() >= end:
                self._is_overdue = True
                break
        return []

    def be_patient(self) -> None:
        """Wait as long as at first: a thread is not as idle as it seemed."""
        self._is_overdue = False

    def _have_called(self) -> bool:
        """Tell whether all of them have called the loop."""
        called = tuple(self._has_called.values())
        return len(called) == self._count and all(called)

    def _are_waiting(self) -> bool:
        """Tell whether all of them wait: futures, queues and events of Python's do it there."""
        frames = sys._current_frames()
        return all(
            (frame := frames.get(number)) is not None
            and frame.f_code.co_filename == threading.__file__
            for number in tuple(self._has_called)
        )
