"""The selector of a loop that is ours: it waits in the core's epoll, with the loop's own nested."""

import selectors
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sockwave.core.io.epoll.engine import EpollEngine


class CoreSelector(selectors.EpollSelector):
    """Serves the core's sockets inside `select`, without a second wait and without a handle."""

    def __init__(self) -> None:
        super().__init__()
        self._engine: EpollEngine | None = None

    def attach(self, engine: "EpollEngine") -> None:
        """Wait in `engine` from now on."""
        engine.nest(self.fileno())
        self._engine = engine

    def detach(self) -> None:
        """Be an ordinary selector again."""
        self._engine = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait at most `timeout` seconds, serve the core, and give what is ready of the rest."""
        if self._engine is None:
            return super().select(timeout)
        try:
            return super().select(0) if self._engine.wait(timeout) else []
        except MemoryError:
            # The loop would end for it. What is ready stays so: the next look finds it.
            return []
