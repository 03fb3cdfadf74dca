from collections.abc import Sequence
from typing import Any

from sockwave.loadgen.exchange import Exchange

class DeflatedExchange(Exchange):
    def __init__(
        self,
        size: int,
        depth: int = 1,
        binary: bool = False,
        sender_count: int = 1,
        *,
        documents: Sequence[bytes],
        bodies: Sequence[bytes],
        keeps_context: bool = False,
    ) -> None: ...
    def make_inflater(self) -> Any: ...
