from typing import Any

COMMON_NAMES: tuple[bytes, ...]

class ScopeTemplate:
    def __init__(
        self,
        common: dict[str, Any],
        extensions: dict[str, Any],
        old_extensions: dict[str, Any],
        added_path: str,
        added_raw_path: bytes,
        state: dict[str, Any],
    ) -> None: ...
