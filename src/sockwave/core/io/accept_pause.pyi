import asyncio
from typing import Self

class Doorman:
    def __new__(cls, loop: asyncio.AbstractEventLoop) -> Self: ...
