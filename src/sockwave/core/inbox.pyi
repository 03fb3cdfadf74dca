import asyncio
from typing import Any

class Inbox:
    consumer: asyncio.Task[Any] | None
