"""What happens at a limit: the refusal of a request, and the count of all such cases."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from sockwave.errors import Refused
from sockwave.options import COUNTED_LIMITS

if TYPE_CHECKING:
    from sockwave.core.tally import Tally


class OverLimit(Refused):
    """Raised to refuse what goes past one of `Limits`; whoever answers it counts it.

    `limit` is the option's name, `status` one of those that the limit costs.
    """

    def __init__(self, limit: str, status: int, body: str) -> None:
        super().__init__(status, body)
        self.limit = limit


class LimitHits(Mapping[str, int]):
    """How often each limit has been applied, by its option's name: a live view."""

    __slots__ = ("_tally",)

    def __init__(self, tally: "Tally") -> None:
        self._tally = tally

    def __getitem__(self, name: str) -> int:
        return self._tally.count_of(name)

    def __iter__(self) -> Iterator[str]:
        return iter(COUNTED_LIMITS)

    def __len__(self) -> int:
        return len(COUNTED_LIMITS)

    def __repr__(self) -> str:
        hits = ", ".join(f"{name}={count}" for name, count in self.items() if count)
        return f"<LimitHits {hits or 'none'}>"
