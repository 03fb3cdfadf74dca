from typing import Self

from sockwave.limits import Limits

class ChunkedDecoder:
    is_done: bool
    def __new__(cls, limits: Limits, limits_body: bool = True) -> Self: ...
    def decode(self, data: bytes) -> tuple[bytes, int]: ...
