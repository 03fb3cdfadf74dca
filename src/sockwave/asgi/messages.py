"""The messages of applications, checked: what may stand in them, and what goes on the wire."""

from collections.abc import Iterable, MutableMapping
from typing import Any

from sockwave.fields import is_token

Pairs = list[tuple[str, str]]

# RFC 9110, 5.5: field-vchar = VCHAR / obs-text, and SP and HTAB between them. So bytes above 0x7F
# pass, which applications use for UTF-8; control characters do not.
_CONTROLS = bytes((*range(0x09), *range(0x0A, 0x20), 0x7F))

# RFC 9110, 7.6.1: a connection's own fields. The server frames its responses itself.
_HOP_NAMES = frozenset({"connection", "keep-alive", "proxy-connection", "transfer-encoding"})

# RFC 9110, 6.5.1: "A sender MUST NOT generate a trailer field unless the sender knows the
# corresponding header field name's definition permits it": never for framing and routing.
_NO_TRAILERS = _HOP_NAMES | {"content-length", "host", "te", "trailer", "upgrade"}


def read_pairs(message: MutableMapping[str, Any]) -> Pairs:
    """Return the header fields of a message as str, decoded from Latin-1.

    Raises TypeError or ValueError for what is no pair of bytes, or cannot stand in a header block.
    """
    headers = message.get("headers") or ()
    if not isinstance(headers, Iterable):
        raise TypeError(f"headers: expected pairs of bytes, given {type(headers).__name__}")
    pairs = []
    for pair in headers:
        try:
            name, value = pair
        except (TypeError, ValueError):
            raise TypeError(f"headers: expected pairs of bytes, given {pair!r}") from None
        if not isinstance(name, (bytes, bytearray)) or not isinstance(value, (bytes, bytearray)):
            raise TypeError(f"headers: expected pairs of bytes, given {pair!r}")
        text = name.decode("latin-1")
        if not is_token(text):
            raise ValueError(f"header name: expected a token (RFC 9110, 5.6.2), given {name!r}")
        if len(value.translate(None, _CONTROLS)) != len(value):
            raise ValueError(f"header {text}: expected no control characters, given {value!r}")
        pairs.append((text, value.decode("latin-1").strip(" \t")))
    return pairs


def read_head(message: MutableMapping[str, Any]) -> tuple[int, Pairs]:
    """Return the status and the header fields of a response, without the connection's own.

    Of `Connection`, the option `close` stays.
    """
    status = message.get("status")
    if not isinstance(status, int) or isinstance(status, bool):
        raise TypeError(f"status: expected int, given {type(status).__name__}")
    if not 200 <= status <= 599:
        raise ValueError(f"status: expected 200 to 599, given {int(status)}")
    pairs = []
    for name, value in read_pairs(message):
        lowered = name.lower()
        if lowered not in _HOP_NAMES:
            pairs.append((name, value))
        elif lowered == "connection" and "close" in map(str.strip, value.lower().split(",")):
            pairs.append((name, "close"))
    return int(status), pairs


def read_trailers(message: MutableMapping[str, Any]) -> Pairs:
    """Return the trailer fields of a message; raise ValueError for fields that cannot be some."""
    pairs = read_pairs(message)
    for name, _ in pairs:
        if name.lower() in _NO_TRAILERS:
            raise ValueError(f"trailers: expected none that frames or routes, given {name}")
    return pairs


def read_bytes(message: MutableMapping[str, Any], name: str) -> bytes:
    """Return bytes of a message, b"" where it has none; raises TypeError for anything else."""
    value = message.get(name, b"")
    if isinstance(value, bytes):
        return value
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    raise TypeError(f"{name}: expected bytes, given {type(value).__name__}")


def read_links(message: MutableMapping[str, Any]) -> Pairs:
    """Return the Link fields of an `http.response.early_hint` (RFC 8297, 2)."""
    return read_pairs({"headers": [(b"Link", link) for link in message.get("links", ())]})


def refuse_message(given: object, *expected: str) -> RuntimeError:
    """Return the error for a message that may not be sent now."""
    names = " or ".join(expected) or "nothing more, as the response is complete"
    return RuntimeError(f"send: expected {names}, given {given!r}")
