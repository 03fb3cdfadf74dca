from typing import Self

from sockwave.core.protocol.input_buffer import Held

class Reader(Held):
    max_size: int
    def __new__(cls, max_size: int, free_fragment_count: int) -> Self: ...
