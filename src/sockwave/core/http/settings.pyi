from collections.abc import Callable, Iterable
from typing import Any, Protocol, Self, type_check_only

from sockwave.address import Address
from sockwave.core.events.emitter import Emitter
from sockwave.core.http.connection import HttpConnection
from sockwave.core.http.request_head import RequestHead
from sockwave.core.http.route_table import RouteTable
from sockwave.core.io.engine import Engine
from sockwave.limits import Limits

@type_check_only
class Facts(Protocol):
    @property
    def head(self) -> RequestHead: ...
    @property
    def wants_websocket(self) -> bool: ...
    @property
    def is_chunked(self) -> bool: ...
    @property
    def body_size(self) -> int: ...
    @property
    def keeps_alive(self) -> bool: ...
    @property
    def expects_continue(self) -> bool: ...

class Taker: ...

class HttpSettings:
    limits: Limits
    engine: Engine
    connections: set[HttpConnection]
    def __new__(
        cls,
        host: Emitter,
        engine: Engine,
        limits: Limits,
        parse_strictly: Callable[[bytes, Limits], Facts],
        send_file: Callable[..., Any],
        *,
        open_event_stream: Callable[..., Any],
        routes: RouteTable,
        asks_for_client: bool,
        fallback: Taker | None = None,
        has_mounts: bool = False,
        limits_takers: bool = True,
        added_headers: Iterable[tuple[str, str]] = (),
        adds_date: bool = True,
        log_access: Callable[[Address, str, str, str, int], None] | None = None,
    ) -> Self: ...
