"""The selector of `Server.run`: it waits in the core's epoll, in which the loop's is nested."""

import selectors
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sockwave.core.io.epoll.engine import EpollEngine


class CoreSelector(selectors.EpollSelector):
    """Serves the core's sockets inside `select`, without a second wait or asyncio handles."""

    def __init__(self) -> None:
        super().__init__()
        self._engine: EpollEngine | None = None

    def attach(self, engine: "EpollEngine") -> None:
        """Wait in the epoll of `engine` from now on."""
        engine.nest(self.fileno())
        self._engine = engine

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
