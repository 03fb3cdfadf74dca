"""What the listeners of one request come to: an answer, or a reason why there is none."""

import asyncio
from collections.abc import Callable

from sockwave.errors import Refused
from sockwave.http import Response


class RequestListeners:
    """The listeners of one request: an answer by one of them is enough.

    Who is asynchronous has answered when it returns. A plain function may keep the response for
    later: until nobody has it any more, which the response tells by itself, or `answer_timeout`.
    """

    __slots__ = ("_plain_count", "_report", "_response", "_running_count")

    def __init__(
        self, response: Response, listener_count: int, report: Callable[[BaseException, None], None]
    ) -> None:
        self._response = response
        self._report = report
        # Those that have not turned out to be asynchronous.
        self._plain_count = listener_count
        self._running_count = 0

    def run(self, task: "asyncio.Task[object]", *, is_plain: bool) -> None:
        """Wait for what a listener has returned; `is_plain`: it was no coroutine of its own."""
        if not is_plain:
            self._plain_count -= 1
        self._running_count += 1
        task.add_done_callback(self._ended)
        self._response._hold(task)

    def _ended(self, task: "asyncio.Task[object]") -> None:
        self._running_count -= 1
        if task.cancelled():
            self._response._give_up("a listener of it was cancelled")
        elif (error := task.exception()) is not None:
            self.fail(error)
        elif not self._running_count and self._plain_count <= 0 and not self._response._sends_file:
            self._response._give_up("its listener returned without ending the response")

    def fail(self, error: BaseException) -> None:
        """Answer for a listener that has raised."""
        if isinstance(error, asyncio.CancelledError):
            self._response._give_up("a listener of it raised CancelledError")
            return
        self._response._fail(error)
        if not isinstance(error, Refused):
            self._report(error, None)
