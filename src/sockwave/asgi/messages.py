"""The messages of applications, checked: what may stand in them, and what goes on the wire."""

from collections.abc import MutableMapping
from typing import Any

from sockwave.core.http.response_head import check_status, is_hop, read_raw_pairs

Pairs = list[tuple[str, str]]

# RFC 9110, 6.5.1: "A sender MUST NOT generate a trailer field unless the sender knows the
# corresponding header field name's definition permits it": never for framing and routing.
_NO_TRAILERS = frozenset({"content-length", "host", "te", "trailer", "upgrade"})


def read_pairs(message: MutableMapping[str, Any]) -> Pairs:
    """Return the header fields of a message as str, decoded from Latin-1.

    Raises TypeError or ValueError for what is no pair of bytes, or cannot stand in a header block.
    """
    return read_raw_pairs(message.get("headers") or ())


def read_head(message: MutableMapping[str, Any]) -> tuple[int, Pairs]:
    """Return the status and the header fields of a response, without the connection's own."""
    status = check_status(message.get("status"))
    return status, [pair for pair in read_pairs(message) if not is_hop(pair[0])]


def read_trailers(message: MutableMapping[str, Any]) -> Pairs:
    """Return the trailer fields of a message; raise ValueError for fields that cannot be some."""
    pairs = read_pairs(message)
    for name, _ in pairs:
        if is_hop(name) or name.lower() in _NO_TRAILERS:
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
