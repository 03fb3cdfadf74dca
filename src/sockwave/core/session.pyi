from typing import Protocol, type_check_only

from sockwave.core.carrier import Carrier, Receiver
from sockwave.core.writer import Done
from sockwave.states import ReadyState

VERSIONS: tuple[str, ...]
MOVES: dict[tuple[int, int], tuple[int, bool, int]]

READY_STATES: dict[int, ReadyState]
DONE: Done

@type_check_only
class Opening(Protocol):
    def more_received(self) -> None: ...
    def deadline_passed(self) -> None: ...
    def connection_lost(self) -> None: ...

class Session(Receiver):
    def __init__(
        self, line: Carrier, version: str, max_size: int, close_timeout: float
    ) -> None: ...
    def _enter(self, phase: int) -> None: ...
    def _begin(self, opening: Opening, rest: bytes) -> None: ...
    def _take(self, size: int) -> bytes | None: ...
