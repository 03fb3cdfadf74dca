from sockwave.core.session.sender import Sender
from sockwave.states import ReadyState

READY_STATES: tuple[ReadyState, ...]
MOVES: dict[tuple[int, int], tuple[int, bool, int]]

class Phased(Sender):
    def _enter(self, phase: int) -> None: ...
    def abandon(self) -> None: ...
