import asyncio
from typing import Any

class Inbox:
    size: int
    is_ended: bool
    consumer: asyncio.Task[Any] | None
