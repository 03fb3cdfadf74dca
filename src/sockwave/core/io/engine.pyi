import asyncio
from collections.abc import Callable
from typing import Self

from sockwave.core.events.contexts import Contexts
from sockwave.core.events.loop_thread import LoopThread
from sockwave.core.io.receiver import Receiver
from sockwave.core.io.timers import Timed
from sockwave.core.io.transport import Carrier
from sockwave.core.limits.counters import Tally
from sockwave.core.limits.rate_limit import Tariff

TICK_S: float

class Usher: ...

class Engine:
    contexts: Contexts
    loop: asyncio.AbstractEventLoop
    thread: LoopThread
    tally: Tally
    def __new__(
        cls,
        loop: asyncio.AbstractEventLoop,
        complain: Callable[[BaseException, Carrier], object],
        *,
        high_water: int,
        low_water: int,
        max_backlog: int,
        write_timeout: float | None,
        max_size: int,
        close_timeout: float | None,
        tally: Tally,
        tariff: Tariff,
    ) -> Self: ...
    usher: Usher
    carrier_count: int
    when_empty: Callable[[], object] | None
    def reset_waiting(self) -> None: ...
    when_departed: Callable[[Carrier], object] | None
    def stop(self) -> None: ...
    def abandon(self) -> None: ...

class Driver(Timed):
    engine: Engine
    receiver: Receiver | None
    is_closing: bool
    def reset(self) -> None: ...
