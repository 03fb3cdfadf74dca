"""Frames of any kind (RFC 6455, section 5.2), and some that nobody may send."""

import os
import struct
from types import MappingProxyType

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def frame(
    opcode: int,
    payload: bytes | str = b"",
    *,
    fin: bool = True,
    reserved: int = 0,
    masked: bool = True,
    size: int | None = None,
) -> bytes:
    """Return the bytes of a frame, whether anybody may send it or not.

    `opcode` is 0 to 15, and `reserved` the three reserved bits, 0 to 7. Clients mask, servers do
    not. `size` is what the header says in place of the payload's length. Raises ValueError for a
    number that has no place in a header.
    """
    data = payload.encode() if isinstance(payload, str) else bytes(payload)
    said = len(data) if size is None else size
    for name, value, most in (("opcode", opcode, 15), ("reserved", reserved, 7)):
        if not 0 <= value <= most:
            raise ValueError(f"{name}: expected 0 to {most}, given {value}")
    if not 0 <= said < 2**64:
        raise ValueError(f"size: expected 0 to 2**64 - 1, given {said}")
    head = bytes([fin << 7 | reserved << 4 | opcode])
    mask_bit = masked << 7
    if said < 126:
        head += bytes([mask_bit | said])
    elif said < 65536:
        head += bytes([mask_bit | 126]) + struct.pack("!H", said)
    else:
        head += bytes([mask_bit | 127]) + struct.pack("!Q", said)
    if not masked:
        return head + data
    mask = os.urandom(4)
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))


def _long(size: int) -> bytes:
    """Return the head of a client's text frame whose length has eight bytes."""
    return bytes([0x81, 0xFF]) + struct.pack("!Q", size) + bytes(4)


#: What a client may not send, each with the code that a server closes the connection with.
MALFORMED = MappingProxyType(
    {
        "unmasked": (frame(TEXT, "hi", masked=False), 1002),
        "reserved bits": (frame(TEXT, "hi", reserved=3), 1002),
        "unknown opcode": (frame(3, "hi"), 1002),
        "unknown control opcode": (frame(11, "hi"), 1002),
        "control frame in pieces": (frame(PING, "hi", fin=False), 1002),
        "long control frame": (frame(PING, bytes(126)), 1002),
        "continuation of nothing": (frame(CONTINUATION, "hi"), 1002),
        "message within a message": (frame(TEXT, "a", fin=False) + frame(TEXT, "b"), 1002),
        "length with its top bit": (_long(1 << 63), 1002),
        "length in too many bytes": (_long(5) + b"hello", 1002),
        "too large": (frame(BINARY, b"", size=1 << 40), 1009),
        "text that is no UTF-8": (frame(TEXT, b"\xff\xfe"), 1007),
        "close with one byte": (frame(CLOSE, b"\x03"), 1002),
        "close with a code of nobody": (frame(CLOSE, struct.pack("!H", 1005)), 1002),
        "close with a reason that is no UTF-8": (frame(CLOSE, b"\x03\xe8\xff"), 1007),
    }
)
