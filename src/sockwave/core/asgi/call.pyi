from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Self

from sockwave.core.asgi.scope import ScopeTemplate
from sockwave.core.events.waiter import Done
from sockwave.core.http.exchange import Exchange, Watcher
from sockwave.core.http.request import Request
from sockwave.core.http.response import Response
from sockwave.core.http.settings import Taker
from sockwave.core.io.transport import Transport
from sockwave.core.session.hub import Hub

DONE: Done

class ApplicationTaker(Taker):
    application: Callable[..., Awaitable[None]]
    report: Callable[..., None]
    def __init__(
        self,
        application: Callable[..., Awaitable[None]],
        template: ScopeTemplate,
        hub: Hub,
        call_type: type[ApplicationCall],
        find_tls: Callable[[Transport], dict[str, Any] | None],
        report: Callable[..., None],
    ) -> None: ...

class ApplicationCall(Watcher):
    taker: ApplicationTaker
    exchange: Exchange
    request: Request
    response: Response
    is_detached: bool
    @property
    def is_complete(self) -> bool: ...
    def __await__(self) -> Self: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> Any: ...
    def __getattr__(self, name: str) -> Any: ...
    def send(self, value: object) -> Any: ...
    def throw(self, *error: Any) -> Any: ...
    def close(self) -> None: ...
    def receive(self) -> Awaitable[MutableMapping[str, Any]]: ...
    def send_message(self, message: MutableMapping[str, Any]) -> Awaitable[None]: ...
    def _end(self) -> None: ...
    def _complete(self) -> None: ...
