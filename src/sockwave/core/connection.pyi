import asyncio
from collections.abc import Awaitable, Coroutine, Hashable
from typing import Any, Self

from sockwave.address import Address
from sockwave.core.carrier import Carrier, Engine
from sockwave.core.emitter import Emitter
from sockwave.core.session import Session
from sockwave.core.streams import IncomingMessage, OutgoingMessage
from sockwave.core.writer import Done
from sockwave.deflate import Agreement
from sockwave.http import RequestHead
from sockwave.messages import Message
from sockwave.options import Limits
from sockwave.security import Security
from sockwave.states import ReadyState

CONNECTION_EVENTS: dict[str, tuple[int, int]]
READY_STATES: dict[int, ReadyState]
VERSIONS: tuple[str, ...]
DONE: Done

class Hub:
    connections: dict[int, Connection]
    engine: Engine
    limits: Limits
    current: Connection | None
    server: Emitter
    dropped_count: int
    def __new__(
        cls,
        server: Emitter,
        engine: Engine | None,
        limits: Limits,
        connections: dict[int, Connection],
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
    def hold(
        self, coroutine: Coroutine[Any, Any, object], connection: Connection | None = None
    ) -> asyncio.Task[object]: ...

class Connection(Session):
    id: int
    def __init__(self, hub: Hub, line: Carrier, version: str, head: bytes) -> None: ...
    def _compress(self, agreement: Agreement) -> None: ...
    def _task_ended(self, task: asyncio.Task[object]) -> None: ...
    def _open(self, answer: bytes, subprotocol: str | None) -> None: ...
    dropped_count: int
    def send(
        self,
        message: Message,
        *,
        compress: bool | None = None,
        slow: str | None = None,
        key: Hashable = None,
    ) -> Awaitable[None]: ...
    write = send
    def broadcast(
        self,
        message: Message,
        *,
        compress: bool | None = None,
        slow: str | None = None,
        key: Hashable = None,
    ) -> int: ...
    def stream(self, *, max_size: int | None = None) -> IncomingMessage: ...
    def stream_message(self, kind: str) -> OutgoingMessage: ...
    def close(self, code: int = 1000, reason: str = "") -> None: ...
    def abort(self) -> None: ...
    def ping(self, data: Message = b"") -> Awaitable[float]: ...
    def expect_handler(self) -> None: ...
    async def receive(self, timeout: float | None = None) -> str | bytes: ...
    def __aiter__(self) -> Self: ...
    async def __anext__(self) -> str | bytes: ...
    @property
    def version(self) -> str: ...
    @property
    def ready_state(self) -> ReadyState: ...
    @property
    def request(self) -> RequestHead: ...
    @property
    def subprotocol(self) -> str | None: ...
    @property
    def data(self) -> dict[Any, Any]: ...
    @property
    def latency(self) -> float | None: ...
    @property
    def backlog_size(self) -> int: ...
    @property
    def carrier(self) -> str: ...
    @property
    def tls(self) -> Security | None: ...
    @property
    def remote_address(self) -> Address: ...
    @property
    def local_address(self) -> Address: ...
    @property
    def close_code(self) -> int | None: ...
    @property
    def close_reason(self) -> str | None: ...
