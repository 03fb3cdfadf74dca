import asyncio
from collections.abc import Awaitable, Callable
from typing import Self

from sockwave.address import Address
from sockwave.core.allowance import Tariff
from sockwave.core.receiver import Receiver
from sockwave.core.tally import Tally
from sockwave.core.timers import Timed
from sockwave.security import Security

TICK_S: float

class Engine:
    loop: asyncio.AbstractEventLoop
    tally: Tally
    def __new__(
        cls,
        loop: asyncio.AbstractEventLoop,
        welcome: Callable[[Carrier], object],
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
    carrier_count: int
    when_empty: Callable[[], object] | None
    def reset_waiting(self) -> None: ...
    when_departed: Callable[[Carrier], object] | None
    def stop(self) -> None: ...

class Carrier(Timed):
    engine: Engine
    receiver: Receiver | None
    awaits_preamble: bool
    is_closing: bool
    is_secure: bool
    protocol: str
    security: Security | None
    remote_address: Address
    local_address: Address
    def claim_address(self, host: str, port: int) -> None: ...
    def write(self, data: bytes | bytearray | memoryview) -> None: ...
    def drained(self) -> Awaitable[None]: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...
    def reset(self) -> None: ...
    def set_deadline(self, seconds: float | None) -> None: ...
