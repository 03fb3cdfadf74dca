from sockwave.states import ReadyState

READY_STATES: tuple[ReadyState, ...]
SEEN_AS: dict[int, ReadyState]
OPENING_STATES: dict[ReadyState, int]
TRANSITIONS: dict[tuple[int, int], tuple[int, bool, int]]
CLIENT_TRANSITIONS: dict[tuple[int, int], tuple[int, bool, int]]
