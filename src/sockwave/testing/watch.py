"""The end of a wait that would never end, and the message that says which one it was."""

import asyncio
import inspect
import linecache
import sys
import sysconfig
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from sockwave.testing.network import Network

#: How long a test may take, in seconds of the real clock, and of a virtual one, where its waits
#: take no time.
REAL_TIMEOUT_S = 10.0
VIRTUAL_TIMEOUT_S = 600.0

# Not the test's own lines: ours, and those of Python's library.
_OTHERS = (str(Path(__file__).parents[1]), sysconfig.get_path("stdlib"))
_SITE = (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))

_COROUTINE = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR

# What a test does at its end may take so many seconds, before it is cancelled again.
_CLEANUP_S = 5.0

# A task that goes on behind so many cancellations does so for ever.
_CANCEL_COUNT = 10

# Of the tasks that wait besides the test's own, so many are listed.
_TASK_COUNT = 10


#: Those that were entered and not left.
watches: "list[Watch]" = []


class Hang(AssertionError):  # noqa: N818  (what a test does, not what is wrong with it)
    """Raised where a test has waited for too long.

    Its message names the line that awaits, those of the other tasks, and what both sides have sent.
    """


class Watch:
    """Ends the task that enters it if it does not leave it within `timeout` seconds.

    A task that goes on behind that is cancelled again, and where a test has swallowed its
    cancellation, it has hung all the same. A task that has left the function which entered is left
    alone: that function is a fixture, and the test that uses it is watched by the plugin of pytest.
    """

    def __init__(self, timeout: float, list_networks: Callable[[], Iterable[Network]]) -> None:
        self.timeout = check_timeout(timeout)
        self.list_networks = list_networks
        #: The fixture of pytest that has entered it, and not left it yet.
        self.fixture: str | None = None
        self._report: str | None = None
        self._cancel_count = 0
        self._entry: FrameType | None = None

    async def __aenter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._entry = _find_entry(task)
        self._cancelling = task.cancelling()
        self._timer = task.get_loop().call_later(self.timeout, self._expire)
        watches.append(self)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        self._entry = None
        watches.remove(self)
        if self._report is None:
            return
        for _ in range(self._cancel_count):
            self._task.uncancel()
        if self._task.cancelling() > self._cancelling:
            return  # others cancel it as well
        # The cancellation may have become an error on its way, or have been swallowed: the wait is
        # the cause all the same.
        cause = None if isinstance(error, asyncio.CancelledError) else error
        raise Hang(self._report) from cause

    def _expire(self) -> None:
        if self._task.done() or not self._is_inside():
            return
        is_first = self._report is None
        if self._report is not None and self._cancel_count >= _CANCEL_COUNT:
            # Virtual time would go on for ever, in no time: only the loop itself can end that.
            give_up = getattr(self._task.get_loop(), "_give_up", None)
            if give_up is not None:
                give_up(self._report)
                return
        if is_first:
            self._report = f"the test has not gone on within {self.timeout:g} s (timeout)"
        self._cancel_count += 1
        self._task.cancel()
        again = max(self.timeout, _CLEANUP_S)
        self._timer = self._task.get_loop().call_later(again, self._expire)
        if is_first:
            self._report = describe_waits(self._task, self.timeout, self.list_networks())

    def _is_inside(self) -> bool:
        """Tell whether the task still runs the function that entered."""
        entry = self._entry
        return entry is None or any(frame is entry for frame in _list_frames(self._task))


def check_timeout(timeout: float) -> float:
    """Return the timeout; TypeError or ValueError unless it is a positive number of seconds."""
    if not isinstance(timeout, int | float) or isinstance(timeout, bool):
        raise TypeError(
            f"timeout: expected seconds as int or float, given {type(timeout).__name__}"
        )
    if not 0 < timeout < float("inf"):
        raise ValueError(f"timeout: expected more than 0 seconds, given {timeout}")
    return timeout


def describe_waits(task: "asyncio.Task[Any]", timeout: float, networks: Iterable[Network]) -> str:
    """Return where a task and all others of its loop wait, and what was sent meanwhile."""
    lines = [f"the test has not gone on within {timeout:g} s (timeout); it waits at"]
    lines.append(f"  {_describe(find_line(task) or _innermost(task))}")
    others = _list_places(one for one in asyncio.all_tasks(task.get_loop()) if one is not task)
    if others:
        lines.append("other tasks wait at")
        lines += others
    return "\n".join(lines + _list_transcripts(networks))


def describe_deadlock(loop: asyncio.AbstractEventLoop, networks: Iterable[Network]) -> str:
    """Return where the tasks of a loop wait in which nothing could come any more."""
    lines = ["the test waits for nothing that could come: no time, no bytes, no call of a thread"]
    places = _list_places(asyncio.all_tasks(loop))
    if places:
        lines.append("tasks wait at")
        lines += places
    return "\n".join(lines + _list_transcripts(networks))


def _list_places(tasks: "Iterable[asyncio.Task[Any]]") -> list[str]:
    """List where tasks wait, in lines of the application or the test."""
    frames = [frame for task in tasks if (frame := find_line(task)) is not None]
    return sorted(f"  {_describe(frame)}" for frame in frames)[:_TASK_COUNT]


def _list_transcripts(networks: Iterable[Network]) -> list[str]:
    return [network.transcript for network in networks] or ["no connection was opened"]


def find_line(task: "asyncio.Task[Any]") -> FrameType | None:
    """Return the innermost frame of a task that is the application's or the test's own."""
    own = [frame for frame in _list_frames(task) if _is_own(frame.f_code.co_filename)]
    return own[-1] if own else None


def _find_entry(task: "asyncio.Task[Any]") -> FrameType | None:
    """Return the outermost coroutine of a task that runs now which is the test's own."""
    root = getattr(task.get_coro(), "cr_frame", None)
    frame: FrameType | None = sys._getframe(1)
    found = None
    while frame is not None:
        code = frame.f_code
        if code.co_flags & _COROUTINE and _is_own(code.co_filename):
            found = frame
        frame = None if frame is root else frame.f_back
    return found


def _innermost(task: "asyncio.Task[Any]") -> FrameType | None:
    frames = _list_frames(task)
    return frames[-1] if frames else None


def _list_frames(task: "asyncio.Task[Any]") -> list[FrameType]:
    """List the frames of a task's coroutine, and of what each one awaits, outermost first."""
    frames = []
    awaited: Any = task.get_coro()
    while awaited is not None:
        for prefix, following in (("cr", "cr_await"), ("gi", "gi_yieldfrom"), ("ag", "ag_await")):
            if hasattr(awaited, f"{prefix}_frame"):
                frame = getattr(awaited, f"{prefix}_frame")
                if isinstance(frame, FrameType):
                    frames.append(frame)
                awaited = getattr(awaited, following, None)
                break
        else:
            awaited = None
    return frames


def _is_own(filename: str) -> bool:
    # Compiled code has the name of its source, which is not here.
    return filename.endswith(".py") and not filename.startswith((*_OTHERS, *_SITE))


def _describe(frame: FrameType | None) -> str:
    """Return a frame's place, and its line."""
    if frame is None:
        return "no line that is known"
    code = frame.f_code
    number = frame.f_lineno or code.co_firstlineno
    line = linecache.getline(code.co_filename, number).strip()
    return f"{code.co_filename}:{number}, in {code.co_name}: {line}".removesuffix(": ")
