"""Compressed messages: RFC 7692, section 7.2.2, held against zlib in its plainest use.

Byte 0 chooses window, context and limit, byte 1 how the stream is cut; the rest are messages, each
with one byte of flags and two of length in front.
"""

import functools
import zlib
from typing import Any

import reference
from reference import BINARY, CONTINUATION, INVALID_DATA, TEXT, TOO_BIG, Frame

from fuzz.conversation import Witness, check_anyhow, feed
from fuzz.memory import MemoryServer
from sockwave import Deflate
from sockwave.deflate import Agreement, negotiate

SIZES = (16, 1000, 40_000, 1 << 20)
TAIL = b"\x00\x00\xff\xff"


@functools.cache
def server(size: int) -> MemoryServer:
    """Give the server with that limit."""
    return MemoryServer(max_size=size)


@functools.cache
def agreement(bits: int, takeover: bool) -> Agreement:
    """Give what a client with that window and the server have agreed on."""
    settings = Deflate(client_max_window_bits=bits, client_context_takeover=takeover)
    agreed = negotiate(["permessage-deflate; client_max_window_bits"], settings)
    assert agreed is not None
    return agreed


def split(data: bytes) -> list[tuple[int, bytes]]:
    """Split the input into flags and compressed messages."""
    found = []
    while len(data) >= 3:
        size = int.from_bytes(data[1:3], "big")
        found.append((data[0], data[3 : 3 + size]))
        data = data[3 + size :]
    return found


def run(data: bytes) -> None:
    """Hold the messages of one connection against zlib."""
    if len(data) < 2:
        return
    max_size = SIZES[data[0] & 3]
    bits = (9, 12, 14, 15)[data[0] >> 2 & 3]
    takeover = bool(data[0] & 16)
    front = server(max_size)
    peer = front.open(agreement=agreement(bits, takeover))
    witness = Witness(peer)
    messages = split(data[2:])
    wire = b"".join(frame_message(flags, payload) for flags, payload in messages)
    feed(front, peer, wire, data[1])
    front.end(peer)
    check_anyhow(witness, max_size)
    expected, codes = expect(messages, max_size, bits, takeover)
    heard = [event[1] for event in witness.events if event[0] == "message"]
    assert heard == expected, f"heard {heard!r}, expected {expected!r}"
    code = witness.events[-1][1]
    assert code in codes, f"closed with {code}, expected {codes}"


def frame_message(flags: int, payload: bytes) -> bytes:
    """Give the frames of a compressed message: one, or two where the flags say so."""
    opcode = TEXT if flags & 1 else BINARY
    if not flags & 2:
        return reference.serialize(Frame(opcode, payload, rsv=reference.RSV1))
    half = len(payload) // 2
    return reference.serialize(
        Frame(opcode, payload[:half], fin=False, rsv=reference.RSV1)
    ) + reference.serialize(Frame(CONTINUATION, payload[half:]))


def expect(
    messages: list[tuple[int, bytes]], max_size: int, bits: int, takeover: bool
) -> tuple[list[str | bytes], set[int]]:
    """Tell which messages are heard, and the code with which the connection may end."""
    heard: list[str | bytes] = []
    window = b""
    for flags, payload in messages:
        if len(payload) > max_size:
            return heard, {TOO_BIG}
        # Where a message is over the limit and corrupt too, either is right.
        over = {TOO_BIG} if is_sound(payload, window, bits) else {TOO_BIG, INVALID_DATA}
        inflater = inflater_for(window, bits)
        try:
            message = inflater.decompress(payload + TAIL, max_size + 1)
        except zlib.error:
            return heard, {INVALID_DATA}
        if len(message) > max_size:
            return heard, over
        # 7.2.3.4: a block with BFINAL is followed by an octet of its own, or by nothing.
        if inflater.eof and inflater.unused_data not in (b"", TAIL, b"\x00" + TAIL):
            return heard, {INVALID_DATA}
        if not inflater.eof and not is_sound(payload, window, bits):
            # It is cut off: what the server puts behind its end may pass for more of it.
            return heard, {INVALID_DATA, TOO_BIG}
        if takeover:
            window = (window + message)[-(1 << bits) :]
        try:
            heard.append(message.decode() if flags & 1 else message)
        except UnicodeDecodeError:
            return heard, {INVALID_DATA}
    return heard, {reference.ABNORMAL}


def inflater_for(window: bytes, bits: int) -> Any:
    """Give what inflates a message behind others."""
    return zlib.decompressobj(-bits, window) if window else zlib.decompressobj(-bits)


def is_sound(payload: bytes, window: bytes, bits: int) -> bool:
    """Tell whether a stream, with its tail, ends where a block does: a last one can follow."""
    inflater = inflater_for(window, bits)
    try:
        inflater.decompress(payload + TAIL)
        more = inflater.decompress(b"\x03\x00")
    except zlib.error:
        return False
    return bool(inflater.eof and not more and not inflater.unused_data)
