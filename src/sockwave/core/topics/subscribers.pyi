from typing import Any, Self

class Subscribers:
    name: str
    is_pattern: bool
    is_sequenced: bool
    is_stream: bool
    is_kept: bool
    want_state: int
    replay_count: int
    waiters: Any
    settings: Any
    def __new__(cls, name: str, is_pattern: bool, settings: Any) -> Self: ...
    def __len__(self) -> int: ...

class Subscriptions:
    has_commands: bool
    members: dict[str, str] | None
    replays: dict[str, Any] | None
    def __new__(cls, has_commands: bool) -> Self: ...
    def __len__(self) -> int: ...
    def names(self) -> list[str]: ...
