from collections.abc import Callable
from typing import Protocol, type_check_only

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
    def let_in(self, transport: Transport) -> bool: ...
    def introduce(self, pending: PendingConnection) -> None: ...
    def meet(self, transport: Transport) -> None: ...
    def open_http(self, transport: Transport) -> Receiver: ...

class Gate(Acceptor):
    expected: dict[Transport, Newcomer]
    undecided: set[Transport]
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
        asks_addresses: bool,
        asks_nobody: bool,
    ) -> None: ...
    def await_peer(self, transport: Transport, newcomer: Newcomer) -> None: ...
    def await_decision(self, transport: Transport) -> None: ...
    def end_handshake(self, transport: Transport) -> None: ...

class PendingConnection(Receiver):
    transport: Transport
    @property
    def held_size(self) -> int: ...
    def abort(self) -> None: ...
    def close(self) -> None: ...
    def dismiss(self, refused: OverLimit) -> None: ...
