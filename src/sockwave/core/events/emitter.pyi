from collections.abc import Callable
from typing import Self, TypeVar, overload

_L = TypeVar("_L", bound=Callable[..., object])

class Adding:
    def __call__(self, listener: _L) -> _L: ...

class Emitter:
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

class ServerEmitter(Emitter):
    def takers(self, event: str) -> list[tuple[Callable[..., object], int]]: ...
    def emit_event(self, event: str, first: object = None, second: object = None) -> bool: ...

SERVER_EVENTS: dict[str, tuple[int, int]]
CONNECTION_EVENTS: dict[str, tuple[int, int]]
