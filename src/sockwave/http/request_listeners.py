"""The listeners of one request: whether one of them answers, or why none does."""

import asyncio
from collections.abc import Callable

from sockwave.errors import Refused
from sockwave.http import Response


class RequestListeners:
    """The listeners of one request: an answer by one of them is enough.

    An asynchronous listener must have answered when it returns. A plain function may keep the
    response for later, until `answer_timeout`; if it drops the response without an answer, the
    response itself reports that.
    """

    __slots__ = ("_plain_count", "_report", "_response", "_running_count")

    def __init__(
        self, response: Response, listener_count: int, report: Callable[[BaseException, None], None]
    ) -> None:
        self._response = response
        self._report = report
        # Listeners that have not returned a coroutine (so far).
        self._plain_count = listener_count
        self._running_count = 0

    def run(self, task: "asyncio.Task[object]", *, is_plain: bool) -> None:
        """Track the task of a listener's result; `is_plain`: an awaitable of a plain function."""
        if not is_plain:
            self._plain_count -= 1
        self._running_count += 1
        task.add_done_callback(self._ended)
        self._response._track_task(task)

    def _ended(self, task: "asyncio.Task[object]") -> None:
        self._running_count -= 1
        if task.cancelled():
            self._response._give_up("a listener of it was cancelled")
        elif (error := task.exception()) is not None:
            self.fail(error)
        elif not self._running_count and self._plain_count <= 0 and not self._response._sends_file:
            self._response._give_up("its listener returned without ending the response")

    def fail(self, error: BaseException) -> None:
        """Answer with an error for a listener that has raised, and report the error."""
        if isinstance(error, asyncio.CancelledError):
            self._response._give_up("a listener of it raised CancelledError")
            return
        self._response._fail(error)
        if not isinstance(error, Refused):
            self._report(error, None)
