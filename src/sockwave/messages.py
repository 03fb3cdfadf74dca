"""The types of messages, and the policies for peers that cannot keep up with them."""

from typing import Literal, TypeAlias

from sockwave.names import check_choice

#: str is a text message, bytes-like a binary one (RFC 6455, section 5.6).
Message: TypeAlias = str | bytes | bytearray | memoryview

#: What happens when a message would make the backlog larger than `max_backlog`; see `slow`.
SlowPolicy: TypeAlias = Literal["close", "drop_new", "drop_old", "conflate"]
SLOW_POLICIES = ("close", "drop_new", "drop_old", "conflate")

#: What other workers and hosts are told of the `key` of a message is no larger.
MAX_SHARED_KEY_SIZE = 1024


def check_slow(slow: str) -> str:
    """Return `slow`; raise TypeError or ValueError unless it names a slow-peer policy."""
    return check_choice("slow", slow, SLOW_POLICIES)
