from collections.abc import Awaitable

from sockwave.core.delivery import Deliverer
from sockwave.messages import Message

class Keeper(Deliverer):
    def ping(self, data: Message = b"") -> Awaitable[float]: ...
    @property
    def latency(self) -> float | None: ...
