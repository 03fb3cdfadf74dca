from typing import Self

from sockwave.options import Limits

BURST_S: float

class Tariff:
    def __new__(cls, limits: Limits) -> Self: ...
