from types import ModuleType
from typing import Self

from sockwave.deflate import Deflate

class Deflater:
    def __new__(
        cls, library: ModuleType, settings: Deflate, window_bits: int, shared: Deflater | None
    ) -> Self: ...

class Inflater:
    def __new__(
        cls, library: ModuleType, window_bits: int, keeps_context: bool, max_size: int
    ) -> Self: ...

class Codecs:
    def __new__(cls, max_size: int) -> Self: ...
