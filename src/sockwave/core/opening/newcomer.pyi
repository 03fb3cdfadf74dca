from collections.abc import Callable
from typing import Protocol, type_check_only

from sockwave.core.http.route_table import RouteTable
from sockwave.core.http.settings import HttpSettings
from sockwave.core.io.engine import Acceptor
from sockwave.core.io.receiver import Receiver
from sockwave.core.io.transport import Transport
from sockwave.core.session.hub import Hub
from sockwave.deflate import Deflate
from sockwave.limits import Limits, OverLimit

@type_check_only
class Newcomer(Protocol):
    def dismiss(self, refused: OverLimit) -> None: ...

@type_check_only
class AcceptHooks(Protocol):
    def admit(self, transport: Transport) -> bool: ...
    def identify_client(self, pending: PendingConnection) -> None: ...
    def emit_stream(self, transport: Transport) -> None: ...

class Gate(Acceptor):
    http: HttpSettings
    awaiting_client: dict[Transport, Newcomer]
    awaiting_application: set[Transport]
    def __init__(
        self,
        host: AcceptHooks,
        hub: Hub,
        check_origin_and_subprotocol: Callable[..., str | None],
        *,
        limits: Limits,
        max_connections: int | None,
        compression: Deflate | None,
        origin_policy: object,
        subprotocols: object,
        needs_address: bool,
        asks_no_hook: bool,
        routes: RouteTable,
        has_fallback: bool = False,
    ) -> None: ...
    def await_client(self, transport: Transport, newcomer: Newcomer) -> None: ...
    def await_application(self, transport: Transport) -> None: ...
    def end_handshake(self, transport: Transport) -> None: ...

class PendingConnection(Receiver):
    transport: Transport
    @property
    def held_size(self) -> int: ...
    def data_received(self, data: bytes) -> None: ...
    def deadline_passed(self) -> None: ...
    def connection_lost(self, error: OSError | None) -> None: ...
    def abort(self) -> None: ...
    def close(self) -> None: ...
    def dismiss(self, refused: OverLimit) -> None: ...
