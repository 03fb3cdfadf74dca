from collections.abc import Awaitable, Callable

class Done(Awaitable[None]):
    def __await__(self) -> Done: ...  # type: ignore[override]
    def __iter__(self) -> Done: ...
    def __next__(self) -> None: ...

DONE: Done

class Cork:
    high_water: int
    low_water: int
    max_backlog: int
    def __init__(self, schedule: Callable[[], object], high_water: int, low_water: int, max_backlog: int) -> None: ...

class Writer:
    backlog_size: int
