import asyncio
from collections.abc import Callable
from typing import Self

from sockwave.core.events.contexts import Contexts
from sockwave.core.events.loop_thread import LoopThread
from sockwave.core.io.transport import Transport
from sockwave.core.limits.counters import LimitCounters
from sockwave.core.limits.rate_limit import RateLimits

TICK_S: float

class Acceptor: ...
class Beginner: ...

class Engine:
    contexts: Contexts
    loop: asyncio.AbstractEventLoop
    thread: LoopThread
    limit_counters: LimitCounters
    def __new__(
        cls,
        loop: asyncio.AbstractEventLoop,
        complain: Callable[[BaseException, Transport], object],
        *,
        high_water: int,
        low_water: int,
        max_backlog: int,
        write_timeout: float | None,
        max_size: int,
        close_timeout: float | None,
        limit_counters: LimitCounters,
        rate_limits: RateLimits,
    ) -> Self: ...
    acceptor: Acceptor
    transport_count: int
    when_empty: Callable[[], object] | None
    def reset_waiting(self) -> None: ...
    when_departed: Callable[[Transport], object] | None
    def stop(self) -> None: ...
    def abandon(self) -> None: ...
