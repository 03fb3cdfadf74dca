from collections.abc import Coroutine, Hashable, Iterable
from typing import Any, Self

from sockwave.core.connection import Connection
from sockwave.core.connections import Connections
from sockwave.core.emitter import Emitter
from sockwave.core.engine import Engine
from sockwave.core.loop_thread import LoopThread
from sockwave.limits import Limits
from sockwave.messages import Message

class Hub:
    connections: Connections
    engine: Engine
    thread: LoopThread
    limits: Limits
    current: Connection | None
    dropped_count: int
    is_short: bool
    def __new__(
        cls,
        host: Emitter,
        engine: Engine | None,
        limits: Limits,
        connections: Connections,
        slow: str = "close",
    ) -> Self: ...
    def broadcast(
        self,
        message: Message,
        besides: Connection | None = None,
        *,
        compress: bool | None = None,
        slow: str | None = None,
        key: Hashable = None,
    ) -> int: ...
    def own(
        self,
        message: Message,
        *,
        compress: bool | None = None,
        slow: str | None = None,
        key: Hashable = None,
    ) -> str | bytes: ...
    def weigh(self, others: Iterable[Connection]) -> int: ...
    def weigh_each(self) -> list[tuple[int, Connection]]: ...
    def shed(self, connection: Connection) -> int: ...
    def hold(
        self, coroutine: Coroutine[Any, Any, object], connection: Connection | None = None
    ) -> None: ...
