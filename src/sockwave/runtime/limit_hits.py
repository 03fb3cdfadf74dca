"""How often each limit has been applied, as the application sees it."""

from collections.abc import Iterator, Mapping

from sockwave.core.limits.counters import LimitCounters
from sockwave.limits import COUNTED_LIMITS


class LimitHits(Mapping[str, int]):
    """How often each limit has been applied, by its option's name: a live view."""

    __slots__ = ("_limit_counters",)

    def __init__(self, limit_counters: LimitCounters) -> None:
        self._limit_counters = limit_counters

    def __getitem__(self, name: str) -> int:
        return self._limit_counters.count_of(name)

    def __iter__(self) -> Iterator[str]:
        return iter(COUNTED_LIMITS)

    def __len__(self) -> int:
        return len(COUNTED_LIMITS)

    def __repr__(self) -> str:
        hits = ", ".join(f"{name}={count}" for name, count in self.items() if count)
        return f"<LimitHits {hits or 'none'}>"
