from typing import Self

from sockwave.limits import Limits

BURST_S: float

class RateLimits:
    def __new__(cls, limits: Limits) -> Self: ...
