"""What can be sent, and what becomes of it where a peer cannot keep up."""

from typing import TypeAlias

#: str is a text message, bytes-like a binary one (RFC 6455, section 5.6).
Message: TypeAlias = str | bytes | bytearray | memoryview

#: What becomes of a message that would take the backlog past its cap.
SLOW_POLICIES = ("close", "drop_new", "drop_old", "conflate")


def check_slow(slow: str) -> str:
    """Return the name of a policy for who cannot keep up; raise when it is none."""
    if not isinstance(slow, str):
        raise TypeError(f"slow: expected str, given {type(slow).__name__}")
    if slow not in SLOW_POLICIES:
        names = ", ".join(map(repr, SLOW_POLICIES))
        raise ValueError(f"slow: expected one of {names}, given {slow!r}")
    return slow
