"""What can be sent."""

from typing import TypeAlias

#: str is a text message, bytes-like a binary one (RFC 6455, section 5.6).
Message: TypeAlias = str | bytes | bytearray | memoryview
