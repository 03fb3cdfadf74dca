from collections.abc import Callable
from typing import Protocol, type_check_only

from sockwave.core.carrier import Carrier
from sockwave.core.engine import Usher
from sockwave.core.hub import Hub
from sockwave.core.receiver import Receiver
from sockwave.limits import OverLimit
from sockwave.options import Options

@type_check_only
class Newcomer(Protocol):
    def dismiss(self, refused: OverLimit) -> None: ...

@type_check_only
class Host(Protocol):
    def let_in(self, carrier: Carrier) -> bool: ...
    def introduce(self, arrival: Arrival) -> None: ...
    def meet(self, carrier: Carrier) -> None: ...
    def visit(self, carrier: Carrier) -> Receiver: ...

class Entrance(Usher):
    expected: dict[Carrier, Newcomer]
    undecided: set[Carrier]
    def __init__(
        self,
        host: Host,
        hub: Hub,
        options: Options,
        max_connections: int | None,
        weigh: Callable[..., str | None],
    ) -> None: ...
    def await_peer(self, carrier: Carrier, newcomer: Newcomer) -> None: ...
    def await_decision(self, carrier: Carrier) -> None: ...
    def settle(self, carrier: Carrier) -> None: ...

class Arrival(Receiver):
    carrier: Carrier
    def close(self) -> None: ...
    def dismiss(self, refused: OverLimit) -> None: ...
