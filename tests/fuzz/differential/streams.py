"""Streams of frames as clients and attackers might send them: RFC 6455, and what is nearly that."""

import random

import reference
from reference import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Frame

TEXTS = ["", "a", "Hello", "κόσμε", "🌊", "é" * 20, "\0", "x" * 125, "x" * 126]
CODES = [0, 999, 1000, 1001, 1003, 1004, 1005, 1006, 1007, 1011, 1014, 1015, 2999, 3000, 4999, 5000]
BROKEN_TEXTS = [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\xaf", b"a\x80"]


def make_stream(rng: random.Random) -> bytes:
    """Make frames as a client might send them, and then perhaps spoil a few bytes."""
    stream = bytearray()
    in_message = False
    for _ in range(rng.choice((1, 1, 2, 2, 3, 5))):
        opcode = rng.choice((TEXT, TEXT, BINARY, PING, PONG, CLOSE))
        if in_message and opcode < CLOSE and rng.random() < 0.9:
            opcode = CONTINUATION
        if rng.random() < 0.03:
            opcode = rng.randrange(16)
        fin = opcode >= CLOSE or rng.random() < 0.6
        if opcode < CLOSE:
            in_message = not fin
        elif rng.random() < 0.03:
            fin = False
        frame = Frame(opcode, make_payload(rng, opcode), fin, make_reserved(rng))
        mask = None if rng.random() < 0.02 else rng.randbytes(4)
        form = rng.choice((7, 16, 64)) if rng.random() < 0.06 else None
        if form == 7 and len(frame.payload) > 125:
            form = None
        if rng.random() < 0.04:  # a length that is announced, and perhaps never comes
            length = rng.choice((126, 65535, 65536, 70_001, 2**31, 2**32 + 1, 2**63 - 1, 2**63))
            stream += reference.serialize_header(frame, length, mask, 64)
        else:
            stream += reference.serialize(frame, mask, form)
    return spoil(rng, bytes(stream)) if rng.random() < 0.4 else bytes(stream)


def make_payload(rng: random.Random, opcode: int) -> bytes:
    """Make what stands in a frame."""
    kind = rng.random()
    if opcode == CLOSE:
        if kind < 0.2:
            return rng.choice((b"", b"\x03", b"\x03\xe8"))
        code = rng.choice(CODES)
        return code.to_bytes(2, "big") + rng.choice((b"", b"bye", "später".encode(), b"\xc3"))
    if kind < 0.1:
        return rng.choice(BROKEN_TEXTS)
    if kind < 0.2:
        text = rng.choice(TEXTS).encode()
        return text[: rng.randrange(len(text) + 1)]  # the rest may follow in the next fragment
    if kind < 0.3:
        return rng.randbytes(rng.randrange(40))
    return rng.choice(TEXTS[:6] if rng.random() < 0.9 else TEXTS).encode()


def make_reserved(rng: random.Random) -> int:
    return rng.randrange(8) if rng.random() < 0.04 else 0


def spoil(rng: random.Random, data: bytes) -> bytes:
    """Change, drop, double or insert a few bytes."""
    spoiled = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        place = rng.randrange(len(spoiled) + 1)
        kind = rng.randrange(4)
        if kind == 0 and place < len(spoiled):
            spoiled[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del spoiled[place : place + rng.choice((1, 1, 2, 4))]
        elif kind == 2:
            spoiled[place:place] = rng.choice((b"\0", b"\xff", b"\x81\x80", rng.randbytes(2)))
        elif kind == 3:
            spoiled = spoiled[:place]
    return bytes(spoiled)
