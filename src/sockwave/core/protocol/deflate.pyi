from types import ModuleType
from typing import Self

from sockwave.deflate import Deflate

class Compressor:
    def __new__(cls, library: ModuleType, settings: Deflate, window_bits: int) -> Self: ...

class Deflater:
    def __new__(cls, compressor: Compressor, has_context: bool) -> Self: ...

class Codecs:
    def __new__(cls, max_size: int) -> Self: ...
