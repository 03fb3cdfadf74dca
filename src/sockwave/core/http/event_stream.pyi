import asyncio
import weakref
from collections.abc import Awaitable, Callable, Generator
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from sockwave.core.events.waiter import Done
from sockwave.core.http.response import Response

_L = TypeVar("_L", bound=Callable[..., object])

class EventStream:
    def __init__(
        self, response: Response, loop: asyncio.AbstractEventLoop, keepalive: float | None
    ) -> None: ...
    @property
    def is_open(self) -> bool: ...
    def send(
        self,
        data: str | dict[str, Any] | list[Any] | None = None,
        *,
        event: str | None = None,
        id: str | int | None = None,
        retry: int | None = None,
    ) -> Awaitable[None]: ...
    def end(self) -> Awaitable[None]: ...
    @overload
    def on(self, event: str) -> Callable[[_L], _L]: ...
    @overload
    def on(self, event: str, listener: Callable[[], object]) -> Self: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
    def _keep_alive(self) -> None: ...

class Draining:
    def __await__(self) -> Generator[Any, Any]: ...

DONE: Done

def format_event(data: object, event: object, id: object, retry: object) -> bytes: ...
def keep_alive(reference: weakref.ref[EventStream]) -> None: ...
