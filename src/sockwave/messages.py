"""The types of messages, and the policies for peers that cannot keep up with them."""

from typing import TypeAlias

#: str is a text message, bytes-like a binary one (RFC 6455, section 5.6).
Message: TypeAlias = str | bytes | bytearray | memoryview

#: What happens when a message would make the backlog larger than `max_backlog`; see `slow`.
SLOW_POLICIES = ("close", "drop_new", "drop_old", "conflate")


def check_slow(slow: str) -> str:
    """Return `slow`; raise TypeError or ValueError unless it names a slow-peer policy."""
    if not isinstance(slow, str):
        raise TypeError(f"slow: expected str, given {type(slow).__name__}")
    if slow not in SLOW_POLICIES:
        names = ", ".join(map(repr, SLOW_POLICIES))
        raise ValueError(f"slow: expected one of {names}, given {slow!r}")
    return slow
