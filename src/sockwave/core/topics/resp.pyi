from collections.abc import Callable
from typing import Any, Self

from sockwave.core.topics.bridge import Bridge

class RespError(Exception): ...

class RespReader:
    message_count: int
    def __new__(
        cls,
        bridge: Bridge | None = None,
        prefix: bytes = b"",
        took: Callable[[Any], object] | None = None,
        *,
        tag_size: int = 0,
        tail: bytes = b"",
    ) -> Self: ...
    def take(self, data: bytes) -> list[Any]: ...

def pack_command(*words: bytes) -> bytes: ...
