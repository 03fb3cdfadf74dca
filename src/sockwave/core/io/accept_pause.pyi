import asyncio
from typing import Self

class AcceptPause:
    def __new__(cls, loop: asyncio.AbstractEventLoop) -> Self: ...
