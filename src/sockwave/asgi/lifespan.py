"""The lifespan of an application: its startup before all clients, its shutdown behind them.

The specification is the Lifespan Protocol 2.0, of asgi.readthedocs.io.
"""

import asyncio
import enum
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from sockwave.errors import SockwaveError
from sockwave.functions import describe_in_sentence
from sockwave.log import escape

logger = logging.getLogger("sockwave")

# An application that says that its startup has failed raises the reason behind that: it has so many
# seconds for it.
_REASON_S = 1.0


class Phase(enum.Enum):
    """What an application has said of itself."""

    STARTING = enum.auto()
    STARTED = enum.auto()
    STOPPED = enum.auto()
    FAILED = enum.auto()


class Lifespan:
    """One call of an application that lasts as long as the server.

    `mode` is the option `lifespan`: with "auto", an application that raises or returns before it
    has said that it is ready is taken for one that has no lifespan.
    """

    def __init__(
        self,
        call: Callable[[Any, Any, Any], Awaitable[None]],
        mode: str,
        report: Callable[[BaseException, None], None],
    ) -> None:
        #: What the application has put here at its startup; each scope has a copy.
        self.state: dict[str, Any] = {}
        self._call = call
        self._mode = mode
        self._report = report
        self._phase = Phase.STARTING
        self._task: asyncio.Task[None] | None = None
        self._message = ""
        self._was_asked = False
        # Set when the application has answered `startup`, and when it is to be asked for its
        # shutdown.
        self._answered = asyncio.Event()
        self._shutting_down = asyncio.Event()

    @property
    def is_running(self) -> bool:
        """Whether the application is in the middle of its lifespan."""
        return self._task is not None and not self._task.done()

    def tasks(self) -> list[asyncio.Task[None]]:
        """Return the task of the call, if there is one."""
        return [] if self._task is None else [self._task]

    async def start(self) -> None:
        """Run the application's startup, and wait for it; raises the error that it fails with."""
        if self._mode == "off":
            return
        self._task = asyncio.get_running_loop().create_task(self._run())
        try:
            await self._wait_for(self._answered)
        except asyncio.CancelledError:
            self.abort()
            raise
        if self._task.cancelled():
            return  # the server has been closed meanwhile
        if self._phase is Phase.FAILED:
            await asyncio.wait([self._task], timeout=_REASON_S)
            self.abort()
            raise self._failure()
        if self._task.done() and self._phase is Phase.STARTING:
            self._judge_silence(self._task)

    async def stop(self, seconds: float | None) -> None:
        """Run the application's shutdown, and wait for it; None: without a limit."""
        task = self._task
        if task is None or task.done() or self._phase is not Phase.STARTED:
            self.abort()
            return
        self._shutting_down.set()
        await asyncio.wait([task], timeout=seconds)
        if not task.done():
            task.cancel()
            logger.warning("the shutdown of %s took too long, and is cancelled", self._name())

    def abort(self) -> None:
        """Cancel the call: no answer is waited for any more."""
        if self._task is not None:
            self._task.cancel()

    async def _wait_for(self, event: asyncio.Event) -> None:
        """Wait for an event, or for the end of the application's call."""
        assert self._task is not None
        waiting = asyncio.ensure_future(event.wait())
        try:
            await asyncio.wait([waiting, self._task], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()

    async def _run(self) -> None:
        """Call the application; report what it raises once it has started."""
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        try:
            await self._call(scope, self._receive, self._send)
        except (Exception, BaseExceptionGroup) as error:
            if self._phase in (Phase.STARTING, Phase.FAILED):
                raise
            self._report(error, None)

    async def _receive(self) -> dict[str, Any]:
        """Give `startup`, then `shutdown` when the server ends."""
        if not self._was_asked:
            self._was_asked = True
            return {"type": "lifespan.startup"}
        await self._shutting_down.wait()
        return {"type": "lifespan.shutdown"}

    async def _send(self, message: Any) -> None:
        """Take note of what the application says; RuntimeError for what it may not say now."""
        kind = message["type"]
        expected = {
            Phase.STARTING: ("lifespan.startup.complete", "lifespan.startup.failed"),
            Phase.STARTED: ("lifespan.shutdown.complete", "lifespan.shutdown.failed"),
        }.get(self._phase, ())
        if kind not in expected:
            names = " or ".join(expected) or "nothing more"
            raise RuntimeError(f"lifespan: expected {names}, given {kind!r}")
        if kind == "lifespan.startup.complete":
            self._phase = Phase.STARTED
        elif kind == "lifespan.startup.failed":
            self._phase, self._message = Phase.FAILED, str(message.get("message", ""))
        else:
            self._phase = Phase.STOPPED
            if kind == "lifespan.shutdown.failed":
                reason = str(message.get("message", "")) or "it does not say why"
                self._report(
                    SockwaveError(f"the shutdown of {self._name()} failed: {reason}"), None
                )
        self._answered.set()

    def _failure(self) -> BaseException:
        """Return the error of a startup that failed: the application's own, if it raised one."""
        assert self._task is not None
        if self._task.done() and not self._task.cancelled() and self._task.exception() is not None:
            error = self._task.exception()
            assert error is not None
            return error
        reason = self._message or "it does not say why"
        return SockwaveError(f"the startup of {self._name()} failed: {reason}")

    def _judge_silence(self, task: "asyncio.Task[None]") -> None:
        """Decide about an application whose call has ended without an answer to `startup`."""
        error = None if task.cancelled() else task.exception()
        if self._mode == "on":
            raise error or SockwaveError(
                f"the startup of {self._name()}: expected lifespan.startup.complete, given none"
            )
        line = "%s has no lifespan (see the option)"
        if error is None:
            logger.info(line, self._name())
        elif self._was_asked:
            # It has asked what there is to do: more likely the error is one of its startup.
            logger.warning(line, self._name(), exc_info=error)
        else:
            # Nothing is wrong with an application that raises for a scope that it does not know.
            raised = escape(f"{type(error).__name__}: {error}")
            logger.info(f"{line}: it raised %s", self._name(), raised)
            logger.debug("where that was raised", exc_info=error)

    def _name(self) -> str:
        return describe_in_sentence(self._call)
