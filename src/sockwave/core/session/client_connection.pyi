from collections.abc import Awaitable, Callable, Hashable
from typing import NoReturn

from sockwave.core.http.headers import Headers
from sockwave.core.io.arrival import Arrival
from sockwave.core.io.transport import Transport
from sockwave.core.session.connection import Connection
from sockwave.core.session.hub import Hub
from sockwave.deliveries import Position, Subscribed
from sockwave.messages import Message

class ClientConnection(Connection):
    response_headers: Headers
    def __init__(
        self,
        hub: Hub,
        transport: Transport,
        version: str,
        head: bytes,
        response_headers: Headers | None = None,
    ) -> None: ...
    def broadcast(
        self,
        message: Message,
        *,
        compress: bool | None = None,
        slow: str | None = None,
        key: Hashable = None,
    ) -> NoReturn: ...
    def broadcast_json(
        self,
        value: object,
        *,
        compress: bool | None = None,
        slow: str | None = None,
        key: Hashable = None,
    ) -> NoReturn: ...
    def subscribe(
        self,
        topic: str,
        *,
        since: Position | str | None = None,
        member: str | None = None,
        data: object = None,
    ) -> Awaitable[Subscribed]: ...
    def unsubscribe(self, topic: str) -> bool: ...
    @property
    def topics(self) -> list[str]: ...
    def _hold(self, is_full: bool) -> None: ...
    def _conflate(self, key: Callable[[str | bytes], Hashable]) -> None: ...
    @property
    def lag(self) -> float | None: ...
    def _measure_lag(self, arrival: Arrival | None) -> None: ...
    def _leave(self, code: int) -> Awaitable[None]: ...
