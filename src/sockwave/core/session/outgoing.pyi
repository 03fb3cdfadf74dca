from collections.abc import Awaitable
from types import TracebackType
from typing import Self

from sockwave.core.events.waiter import Done
from sockwave.core.session.sender import Sender

KINDS: dict[str, int]
DONE: Done

class OutgoingMessage:
    def __new__(cls, session: Sender, opcode: int) -> Self: ...
    async def __aenter__(self) -> Self: ...
    def write(self, chunk: str | bytes | bytearray | memoryview) -> Awaitable[None]: ...
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
