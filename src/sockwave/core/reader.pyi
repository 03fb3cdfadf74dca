from typing import Self

class Reader:
    max_size: int
    def __new__(cls, max_size: int, free_fragment_count: int) -> Self: ...
