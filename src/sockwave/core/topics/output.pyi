from collections.abc import Callable
from typing import Self

class LinkOutput:
    is_open: bool
    worker: int
    def __new__(cls, schedule: Callable[[], object] | None) -> Self: ...
    @property
    def size(self) -> int: ...
    def read(self) -> bytes: ...
