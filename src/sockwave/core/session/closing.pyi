from sockwave.core.session.sender import Sender
from sockwave.states import ReadyState

READY_STATES: tuple[ReadyState, ...]
SEEN_AS: dict[int, ReadyState]
OPENING_STATES: dict[ReadyState, int]
TRANSITIONS: dict[tuple[int, int], tuple[int, bool, int]]

class ClosingHandshake(Sender):
    def _enter(self, ready_state: ReadyState) -> None: ...
    def _abandon(self) -> None: ...
