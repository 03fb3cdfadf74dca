from typing import Self

from sockwave.core.writer import Writer

TICK_S: float

class Wheel:
    def __new__(cls, now: float) -> Self: ...
    def advance(self, now: float) -> int: ...

class Timed(Writer): ...
