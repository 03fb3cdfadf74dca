from typing import Any

from sockwave.core.http.request_head import RequestHead

COMMON_NAMES: tuple[bytes, ...]

def decode_path(raw_path: bytes) -> str: ...

class ScopeTemplate:
    def __init__(
        self,
        common: dict[str, Any],
        secure_scheme: str,
        extensions: dict[str, Any],
        old_extensions: dict[str, Any],
        added_path: str,
        added_raw_path: bytes,
        state: dict[str, Any],
    ) -> None: ...
    def make(
        self, head: RequestHead, is_secure: bool, client: object, server: object, is_debugged: bool
    ) -> dict[str, Any]: ...
