from collections.abc import Callable
from typing import Self

class TopicSettings: ...

class Registry:
    epoch: int
    def __new__(
        cls,
        clock: Callable[[], float],
        topic_count: int,
        history_budget: int,
        append_size: int,
    ) -> Self: ...
