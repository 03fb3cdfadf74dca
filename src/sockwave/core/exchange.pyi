from collections.abc import Sequence
from typing import Any

from sockwave.core.client import Client

class Talker(Client): ...

class Exchange:
    def __init__(
        self, size: int, depth: int = 1, binary: bool = False, speaker_count: int = 1
    ) -> None: ...
    @property
    def size(self) -> int: ...
    @property
    def depth(self) -> int: ...
    @property
    def heard_size(self) -> int: ...

class DeflatedExchange(Exchange):
    def __init__(
        self,
        size: int,
        depth: int = 1,
        binary: bool = False,
        speaker_count: int = 1,
        *,
        documents: Sequence[bytes],
        bodies: Sequence[bytes],
        keeps_context: bool = False,
    ) -> None: ...
    def make_inflater(self) -> Any: ...
