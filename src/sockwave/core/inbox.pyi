import asyncio
from typing import Any

class Inbox:
    size: int
    consumer: asyncio.Task[Any] | None
