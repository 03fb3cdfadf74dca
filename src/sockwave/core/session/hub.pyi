import asyncio
from collections.abc import Callable, Coroutine, Hashable, Iterable
from typing import Any, Self

from sockwave.core.events.emitter import Emitter
from sockwave.core.events.loop_thread import LoopThread
from sockwave.core.io.engine import Engine
from sockwave.core.session.connection import Connection
from sockwave.core.session.connections import Connections
from sockwave.json_codec import JSONReading
from sockwave.limits import Limits
from sockwave.messages import Message

class Hub:
    connections: Connections
    engine: Engine
    thread: LoopThread
    limits: Limits
    current: Connection | None
    dropped_count: int
    is_memory_low: bool
    topics: Any
    others: Any
    json: JSONReading
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
    def deliver(
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
    def measure(self, others: Iterable[Connection]) -> int: ...
    def measure_each(self) -> list[tuple[int, Connection]]: ...
    def shed(self, connection: Connection) -> int: ...
    def start_task(
        self,
        coroutine: Coroutine[Any, Any, object],
        connection: Connection | None = None,
        *,
        is_free: bool = False,
    ) -> None: ...
    @property
    def call_count(self) -> int: ...
    def when_idle(self, call: Callable[[], object] | None) -> None: ...
    def cancel_calls(self) -> None: ...
    def excuse(self, task: asyncio.Task[Any] | None) -> None: ...
    def tasks(self) -> list[asyncio.Task[Any]]: ...
    def begin_last_calls(self) -> None: ...
