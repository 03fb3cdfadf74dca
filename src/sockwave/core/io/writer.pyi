from collections.abc import Callable
from typing import Self

from sockwave.core.events.waiter import Done

DONE: Done

class Cork:
    def __new__(
        cls, schedule: Callable[[], object], high_water: int, low_water: int, max_backlog: int
    ) -> Self: ...

class Writer:
    @property
    def backlog_size(self) -> int: ...
