from sockwave.core.session.sender import Sender
from sockwave.states import ReadyState

READY_STATES: tuple[ReadyState, ...]
TRANSITIONS: dict[tuple[int, int], tuple[int, bool, int]]

class ClosingHandshake(Sender):
    def _enter(self, state: int) -> None: ...
    def _abandon(self) -> None: ...
