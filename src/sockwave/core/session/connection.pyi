import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from contextvars import Context
from typing import Any, Self, TypeVar, overload

from sockwave.address import Address
from sockwave.core.events.waiter import Done
from sockwave.core.io.transport import Transport
from sockwave.core.session.hub import Hub
from sockwave.core.session.keepalive import Keepalive
from sockwave.core.session.outgoing import OutgoingMessage
from sockwave.deflate import Agreement
from sockwave.messages import Message
from sockwave.request_head import RequestHead
from sockwave.states import ReadyState
from sockwave.tls_info import TLSInfo

_Result = TypeVar("_Result")
_L = TypeVar("_L", bound=Callable[..., object])

CONNECTION_EVENTS: dict[str, tuple[int, int]]
READY_STATES: tuple[ReadyState, ...]
VERSIONS: tuple[str, ...]
DONE: Done

class Connection(Keepalive):
    id: int
    def __init__(self, hub: Hub, line: Transport, version: str, head: bytes) -> None: ...
    def _compress(self, agreement: Agreement) -> None: ...
    def _open(self, answer: bytes, subprotocol: str | None) -> None: ...
    @overload
    def on(self, event: str) -> Callable[[_L], _L]: ...
    @overload
    def on(self, event: str, listener: Callable[..., object]) -> Self: ...
    @overload
    def once(self, event: str) -> Callable[[_L], _L]: ...
    @overload
    def once(self, event: str, listener: Callable[..., object]) -> Self: ...
    add_listener = on
    addListener = on  # noqa: N815
    def off(self, event: str, listener: Callable[..., object]) -> Self: ...
    remove_listener = off
    removeListener = off  # noqa: N815
    def listeners(self, event: str) -> list[Callable[..., object]]: ...
    def _emit_event(self, event: str, first: object = None, second: object = None) -> bool: ...
    def _has_left(self) -> bool: ...
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
    def stream_message(self, kind: str) -> OutgoingMessage: ...
    def create_task(
        self,
        coroutine: Coroutine[Any, Any, _Result],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> asyncio.Task[_Result]: ...
    def close(self, code: int = 1000, reason: str = "") -> None: ...
    def abort(self) -> None: ...
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
    def backlog_size(self) -> int: ...
    @property
    def carrier(self) -> str: ...
    @property
    def tls(self) -> TLSInfo | None: ...
    @property
    def is_secure(self) -> bool: ...
    @property
    def remote_address(self) -> Address: ...
    @property
    def local_address(self) -> Address: ...
    @property
    def close_code(self) -> int | None: ...
    @property
    def close_reason(self) -> str | None: ...
