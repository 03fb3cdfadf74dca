from sockwave.core.writer import Writer

TICK_S: float

class Wheel:
    now: float
    waiting_count: int
    def __init__(self, now: float) -> None: ...
    def advance(self, now: float) -> int: ...

class Timed(Writer): ...
