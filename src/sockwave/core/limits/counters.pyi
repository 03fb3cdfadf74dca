COUNTED_LIMITS: tuple[str, ...]
CORE_LIMITS: tuple[str, ...]
PLACES: dict[str, int]

class Tally:
    def count(self, name: str) -> None: ...
    def count_of(self, name: str) -> int: ...
