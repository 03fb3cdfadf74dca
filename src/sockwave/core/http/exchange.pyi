from collections.abc import Coroutine
from typing import Any

from sockwave.core.io.receiver import Receiver
from sockwave.core.io.transport import Transport

class Watcher: ...

class Carrier(Receiver):
    transport: Transport

class Exchange:
    def inform(self, head: bytes) -> None: ...
    def listener_started(self, coroutine: Coroutine[Any, Any, object], is_plain: bool) -> None: ...
    def listener_failed(self, error: BaseException) -> None: ...
