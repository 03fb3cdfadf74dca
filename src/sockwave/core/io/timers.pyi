from typing import Self

TICK_S: float

class Wheel:
    now: float
    waiting_count: int
    def __new__(cls, loop_time: float) -> Self: ...
    def advance(self, loop_time: float) -> int: ...
