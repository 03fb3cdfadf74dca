from collections.abc import Awaitable

from sockwave.close import CloseCode
from sockwave.core.session.delivery import Deliverer
from sockwave.messages import Message

ENDINGS: dict[int, tuple[int, CloseCode, str]]

class Keepalive(Deliverer):
    def ping(self, data: Message = b"") -> Awaitable[float]: ...
    @property
    def latency(self) -> float | None: ...
