COUNTED_LIMITS: tuple[str, ...]
CORE_LIMITS: tuple[str, ...]
INDEXES: dict[str, int]

class LimitCounters:
    def count_by_name(self, name: str) -> None: ...
    def count_of(self, name: str) -> int: ...
