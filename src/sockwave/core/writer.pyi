from collections.abc import Awaitable, Callable
from typing import Self

from sockwave.core.backlog import Backlog

class Done(Awaitable[None]):
    def __await__(self) -> Done: ...  # type: ignore[override]
    def __iter__(self) -> Done: ...
    def __next__(self) -> None: ...

DONE: Done

class Cork:
    def __new__(
        cls, schedule: Callable[[], object], high_water: int, low_water: int, max_backlog: int
    ) -> Self: ...

class Writer(Backlog): ...
