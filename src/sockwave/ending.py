"""How a server ends: everybody is told to go, and who does not is dropped."""

import asyncio
from typing import TYPE_CHECKING

from sockwave.engine import Engine
from sockwave.host import Host

if TYPE_CHECKING:
    from sockwave.selector import CoreSelector


class Ending:
    """The end of one server that runs."""

    def __init__(self, host: Host, engine: Engine, selector: "CoreSelector | None") -> None:
        self.done = host.loop.create_future()
        self._host = host
        self._engine = engine
        self._selector = selector
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, code: int, reason: str, seconds: float | None) -> None:
        """Say goodbye to everybody, and drop the rest after so many seconds."""
        host, engine = self._host, self._engine
        engine.stop_listening()
        for connection in list(host.hub.connections.values()):
            connection.close(code, reason)
        for visitor in list(host.visitors):
            visitor.close()
        for opening in list(host.openings):
            opening.give_up()
        if seconds is not None:
            self._timer = host.loop.call_later(seconds, self.abort_rest)
        engine.when_empty = self._finish
        if not engine.carrier_count:
            host.loop.call_soon(self._finish)

    def abort_rest(self) -> None:
        """Drop whoever is still there."""
        host = self._host
        for connection in list(host.hub.connections.values()):
            connection.abort()
        for visitor in list(host.visitors):
            visitor.abort()
        for opening in list(host.openings):
            opening.carrier.abort()
        self._engine.abort_waiting()

    def _finish(self) -> None:
        """Come to the end: nobody is there any more."""
        host = self._host
        if self.done.done():
            return
        if self._timer is not None:
            self._timer.cancel()
        self._engine.when_empty = None
        host.memory.stop()
        if self._selector is not None:
            self._selector.detach()
        self._engine.stop()
        self.done.set_result(None)
        host.emit_event("close", None)
