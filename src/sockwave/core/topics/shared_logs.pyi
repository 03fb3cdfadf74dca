from collections.abc import Callable
from typing import Self

from sockwave.core.topics.placements import Placements

class SharedLogs:
    heard_count: int
    bad_count: int
    def __new__(cls, note: Callable[[], object], placements: Placements) -> Self: ...
    def read_all(self) -> None: ...
    def read_again(self, name: bytes) -> None: ...
    def take_reads(self) -> list[tuple[bytes, int, int, int, tuple[int, int, float]]]: ...
    def unread(self, name: bytes, number: int) -> None: ...
    def read(
        self,
        name: bytes,
        number: int,
        epoch: int,
        top: int,
        now_ms: float,
        entries: list[tuple[int, float, bytes]],
    ) -> None: ...
