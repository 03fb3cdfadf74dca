"""The handshakes of draft-hixie-thewebsocketprotocol-75 and -76, from the client's side."""

import os
import random

from sockwave.client.errors import HandshakeError
from sockwave.core.http.headers import Headers
from sockwave.handshake.hixie76 import KEY3_SIZE, sign
from sockwave.log import quote

# Draft 76, 4.1: the characters among the digits of a key, none of which is a digit or a space.
_NOISE = [chr(code) for code in (*range(0x21, 0x30), *range(0x3A, 0x7F))]

# Secret from nobody on the way: a server has to prove that it has read them.
_random = random.SystemRandom()


def write_key() -> tuple[str, int]:
    """Return a key, and the number in it (draft 76, 4.1, items 16 to 22)."""
    spaces = _random.randint(1, 12)
    number = _random.randint(0, 0xFFFFFFFF // spaces)
    characters = list(str(number * spaces))
    for _ in range(_random.randint(1, 12)):
        characters.insert(_random.randint(0, len(characters)), _random.choice(_NOISE))
    for _ in range(spaces):
        characters.insert(_random.randint(1, len(characters) - 1), " ")
    return "".join(characters), number


def write_keys() -> tuple[list[tuple[str, str]], bytes, bytes]:
    """Return the header fields with both keys, the third one, and the signature of all three."""
    key1, number1 = write_key()
    key2, number2 = write_key()
    key3 = os.urandom(KEY3_SIZE)
    fields = [("Sec-WebSocket-Key1", key1), ("Sec-WebSocket-Key2", key2)]
    return fields, key3, sign(number1, number2, key3)


def check_head(
    headers: Headers, version: str, location: str, origin: str, offered: tuple[str, ...]
) -> str | None:
    """Check the head of an answer, and return the subprotocol; raises HandshakeError (4.1)."""
    prefix = "WebSocket-" if version == "draft75" else "Sec-WebSocket-"
    for name, expected in (
        ("Upgrade", "WebSocket"),
        ("Connection", "Upgrade"),
        (f"{prefix}Location", location),
        (f"{prefix}Origin", origin),
    ):
        given = headers.get_all(name)
        if given != [expected]:
            shown = quote(", ".join(given)) if given else "none"
            raise HandshakeError(f"{name}: expected {expected}, given {shown}")
    chosen = headers.get_all(f"{prefix}Protocol")
    if not chosen:
        return None
    if len(chosen) > 1 or chosen[0] not in offered:
        raise HandshakeError(
            f"{prefix}Protocol: expected one of those offered ({', '.join(offered) or 'none'}), "
            f"given {quote(', '.join(chosen))}"
        )
    return chosen[0]
