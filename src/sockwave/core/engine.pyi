import asyncio
from collections.abc import Callable
from typing import Self

from sockwave.core.allowance import Tariff
from sockwave.core.carrier import Carrier
from sockwave.core.contexts import Contexts
from sockwave.core.loop_thread import LoopThread
from sockwave.core.receiver import Receiver
from sockwave.core.tally import Tally
from sockwave.core.timers import Timed

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
