from typing import Self

from sockwave.core.protocol.input_buffer import InputBuffer

class Reader(InputBuffer):
    max_size: int
    def __new__(cls, max_size: int, free_fragment_count: int) -> Self: ...
