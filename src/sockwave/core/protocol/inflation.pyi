from types import ModuleType
from typing import Self

class Inflation: ...

class Inflater:
    def __new__(
        cls, library: ModuleType, window_bits: int, keeps_context: bool, max_size: int
    ) -> Self: ...
