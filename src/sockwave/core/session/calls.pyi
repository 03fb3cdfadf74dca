import asyncio
from typing import Any, Self

from sockwave.core.events.emitter import Emitter
from sockwave.core.events.strand import Strand
from sockwave.core.events.waiter import Waiter
from sockwave.core.io.engine import Beginner, Engine
from sockwave.limits import Limits

class Calls(Beginner):
    bound_count: int
    def __new__(cls, engine: Engine | None, host: Emitter, limits: Limits) -> Self: ...

class Call:
    def __call__(self, task: asyncio.Task[Any]) -> None: ...

class EndWaiter(Waiter): ...
class Runner(Strand): ...
