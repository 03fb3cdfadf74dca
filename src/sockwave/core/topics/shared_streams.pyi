from collections.abc import Callable
from typing import Self

from sockwave.core.topics.placements import Placements
from sockwave.core.topics.shared_logs import SharedLogs
from sockwave.core.topics.shared_presence import SharedPresence

class SharedStreams:
    bad_count: int
    @property
    def append_size(self) -> int: ...
    def __new__(
        cls,
        note: Callable[[], object],
        placements: Placements,
        logs: SharedLogs,
        presence: SharedPresence,
        host: bytes,
    ) -> Self: ...
    def take_deltas(
        self,
    ) -> list[
        tuple[
            tuple[int, int],
            bytes,
            bytes,
            bytes,
            int,
            int,
            bool,
            bool,
            bytes,
            int,
            bytes,
        ]
    ]: ...
    def answered(
        self, key: tuple[int, int], epoch: int, offset: int, *, is_producer: bool
    ) -> None: ...
    def refused(self, key: tuple[int, int], code: bytes) -> None: ...
    def take_looks(self) -> list[bytes]: ...
    def seen(self, names: list[bytes], streams: list[bool] | list[None]) -> None: ...
    def found_producer(self, host: bytes) -> None: ...
    def host_gone(self, name: bytes) -> None: ...
    def take_gone_hosts(self) -> list[bytes]: ...
    def send_ends_again(self) -> None: ...
    def take_messages(self) -> list[bytes]: ...
    def hear(self, message: bytes) -> bool: ...
