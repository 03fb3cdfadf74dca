import asyncio
from typing import Any

from sockwave.core.events.waiter import Waiter

class Inbox:
    commands: Any
    consumer: asyncio.Task[Any] | None

class InboxWaiter(Waiter):
    def cancel(self, msg: object = None) -> bool: ...
