"""The selector of asyncio's own loops: it waits in the core's epoll, in which its own is nested."""

import asyncio
import selectors
from typing import TYPE_CHECKING, Any

from sockwave.runtime.loop import is_plain

if TYPE_CHECKING:
    from sockwave.core.io.epoll.engine import EpollEngine


class CoreSelector(selectors.EpollSelector):
    """Serves the core's sockets inside `select`, without a second wait or asyncio handles."""

    _engine: "EpollEngine | None" = None

    @classmethod
    def lend(cls, loop: asyncio.AbstractEventLoop, engine: "EpollEngine") -> bool:
        """Have a loop wait in the epoll of `engine` until that detaches; False: it cannot.

        It has to be a plain loop, whose selector is the usual one, as it was made, and in which no
        other engine has the wait.
        """
        selector: Any = getattr(loop, "_selector", None)
        if not is_plain(loop):
            return False
        if type(selector) not in (selectors.EpollSelector, cls) or "select" in vars(selector):
            return False
        # The loop calls the methods of this one, and keeps no other reference to any.
        selector.__class__ = cls
        if selector._engine is not None:
            return False
        engine.nest(selector)
        selector._engine = engine
        return True

    def detach(self) -> None:
        """Become an ordinary selector again."""
        self._engine = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait at most `timeout` seconds, serve the core's sockets, return the other ready ones."""
        if self._engine is None:
            return super().select(timeout)
        try:
            return super().select(0) if self._engine.wait(timeout) else []
        except MemoryError:
            # It would end the loop. What is ready stays ready: the next call returns it.
            return []
