POLICIES: dict[str, int]
SLOW_POLICIES: tuple[str, str, str, str]
