"""permessage-deflate: its settings, and what a server and a client agree on (RFC 7692, section 7).

Offers have the syntax of RFC 6455, section 9.1: the handshake has refused any other. An offer that
the server cannot meet is declined: the connection is not compressed. No offer raises an exception,
a malformed one neither.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from importlib import import_module
from typing import Any

from sockwave.fields import is_token

NAME = "permessage-deflate"

# The most that a client can make us parse; browsers make one or two offers, with four parameters.
_OFFER_COUNT = 16
_PARAMETER_COUNT = 4
_QUOTE_COUNT = 2 * _OFFER_COUNT * _PARAMETER_COUNT

# 7.1.2: "a decimal integer value without leading zeroes between 8 to 15, inclusive".
_WINDOW_BITS = {str(bits): bits for bits in range(8, 16)}

# zlib cannot make a raw deflate stream with a window of 256 bytes.
_LEAST_WINDOW_BITS = 9
_MOST_WINDOW_BITS = 15

# Parameters without a value are None.
Parameters = dict[str, str | None]


def _load_library() -> Any:
    """Return the module of zlib-ng if it is installed, else zlib, which has the same functions."""
    try:
        return import_module("zlib_ng.zlib_ng")
    except ImportError:
        return zlib


#: The module that compresses and inflates; a server reads this name when it starts.
library = _load_library()


def _whole(default: int, least: int, most: int | None) -> Any:
    """Declare a setting that is an int between `least` and `most`."""
    return field(default=default, metadata={"least": least, "most": most})


@dataclass(frozen=True, slots=True, kw_only=True)
class Deflate:
    """How a server compresses: the settings of permessage-deflate (RFC 7692).

    The defaults suit many connections, and messages that may hold secrets: each message is
    compressed without reference to others, and no connection has a compressor or an inflater of its
    own. The server's `max_size` limits a compressed message twice: as it arrives, and inflated.

    Raises TypeError or ValueError naming the setting, what was expected and what was given.
    """

    #: Size of the server's window, as a power of two: 9 to 15, so 512 bytes to 32 KiB. A client may
    #: ask for less.
    server_max_window_bits: int = _whole(12, _LEAST_WINDOW_BITS, _MOST_WINDOW_BITS)
    #: Size of the client's window, likewise. A client that does not know the parameter may use 15
    #: all the same.
    client_max_window_bits: int = _whole(12, _LEAST_WINDOW_BITS, _MOST_WINDOW_BITS)
    #: zlib's memLevel, 1 to 9: a compressor takes 2^(window bits + 2) + 2^(memory_level + 9) bytes.
    memory_level: int = _whole(5, 1, 9)
    #: Compression level, 0 (none) to 9 (slow). For JSON of 1 KiB, level 2 takes three quarters of
    #: the time of zlib's default 6, and its output is at most a sixth larger.
    level: int = _whole(2, 0, 9)
    #: True: a message may refer to the end of the messages sent before it, which makes similar
    #: messages small (7.1.1.1). A message that may yet be dropped (`slow="drop_old"`, "conflate")
    #: and a broadcast, which is compressed once for all clients, refer to nothing. A client may
    #: decline. JSON of 1 KiB takes a third less on the wire, and no more time, as there is less to
    #: write; but the size of a message then reveals something of the messages before it.
    server_context_takeover: bool = False
    #: How many bytes of earlier messages a message may refer to, at most the server's window: 1 to
    #: 32,768. Each connection that was sent a compressed message holds so many bytes, and each KiB
    #: costs about a microsecond per message. JSON of 1 KiB becomes a twentieth smaller with 2 KiB
    #: than with 1 KiB, and no smaller with 4 KiB.
    server_history_size: int = _whole(1024, 1, 1 << _MOST_WINDOW_BITS)
    #: True: the client's messages may refer to its earlier ones; each connection then holds the
    #: memory of the client's window.
    client_context_takeover: bool = False
    #: In bytes: smaller messages are sent uncompressed, as compression gains little.
    threshold: int = _whole(1024, 0, None)

    def __post_init__(self) -> None:
        for setting in fields(self):
            value = getattr(self, setting.name)
            if setting.metadata:
                _check_whole(setting.name, value, **setting.metadata)
            elif not isinstance(value, bool):
                raise TypeError(f"{setting.name}: expected bool, given {type(value).__name__}")


def _check_whole(name: str, value: object, *, least: int, most: int | None) -> None:
    """Raise TypeError or ValueError unless `value` is an int from `least` to `most`."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}: expected int, given {type(value).__name__}")
    if value < least or (most is not None and value > most):
        wanted = f"at least {least}" if most is None else f"{least} to {most}"
        raise ValueError(f"{name}: expected {wanted}, given {value}")


@dataclass(frozen=True, slots=True)
class Agreement:
    """The parameters agreed on for one connection.

    `answer` is the value of Sec-WebSocket-Extensions in the response.
    """

    settings: Deflate
    server_window_bits: int
    client_window_bits: int
    server_context_takeover: bool
    client_context_takeover: bool
    answer: str


def negotiate(values: Sequence[str], settings: Deflate) -> Agreement | None:
    """Return the agreement for the first acceptable offer, None when no offer is acceptable.

    `values` are those of the request's Sec-WebSocket-Extensions fields, in their order.
    """
    # 5: the elements stand in the order in which the client prefers them.
    for offer in read_offers(values):
        agreement = accept(offer, settings)
        if agreement is not None:
            return agreement
    return None


def read_offers(values: Sequence[str]) -> list[Parameters]:
    """Return the well-formed offers of this extension (RFC 6455, section 9.1), in their order."""
    text = _blank_quoted(", ".join(values))
    offers = []
    for element in text.split(",", _OFFER_COUNT)[:_OFFER_COUNT]:
        name, *parameters = element.split(";", _PARAMETER_COUNT + 1)
        if name.strip(" \t") == NAME:
            offer = read_parameters(parameters)
            if offer is not None:
                offers.append(offer)
    return offers


def _blank_quoted(text: str) -> str:
    """Make each quoted string safe to split at separators: one that is no token becomes NUL.

    "When using the quoted-string syntax variant, the value after quoted-string unescaping MUST
    conform to the 'token' ABNF." A token needs no backslash, so all text behind one is treated
    as malformed, like a quoted string without an end.
    """
    text = text.partition("\\")[0] + "\0" if "\\" in text else text
    if '"' not in text:
        return text
    parts = text.split('"', _QUOTE_COUNT)
    inside = range(1, len(parts), 2)
    for i in inside:
        if not is_token(parts[i]):
            parts[i] = "\0"
    if len(parts) == _QUOTE_COUNT + 1 or len(parts) % 2 == 0:
        parts[-1] = "\0"
    return '"'.join(parts)


def read_parameters(written: Sequence[str]) -> Parameters | None:
    """Return the parameters of one offer, None for what is malformed or repeated."""
    parameters: Parameters = {}
    for parameter in written:
        name, equals, value = (part.strip(" \t") for part in parameter.partition("="))
        if len(value) > 1 and value[0] == value[-1] == '"':
            value = value[1:-1]
        # 7.1: an offer with "multiple extension parameters with the same name" is declined.
        if not is_token(name) or name in parameters or (equals and not is_token(value)):
            return None
        parameters[name] = value if equals else None
    return parameters


def accept(offer: Parameters, settings: Deflate) -> Agreement | None:
    """Return the agreement for an offer, None for one that has to be declined (section 7.1)."""
    unread = dict(offer)
    server_takes_over = settings.server_context_takeover
    client_takes_over = settings.client_context_takeover
    server_bits = settings.server_max_window_bits
    client_bits = _MOST_WINDOW_BITS
    answer = [NAME]

    for name in ("server_no_context_takeover", "client_no_context_takeover"):
        if unread.pop(name, None) is not None:
            return None  # 7.1.1: these two have no value
    # 7.1.1.1: an offer that includes this one is accepted by a response that includes it.
    if "server_no_context_takeover" in offer or not server_takes_over:
        server_takes_over = False
        answer.append("server_no_context_takeover")
    # 7.1.1.2: a server may include this one whether or not the client hinted at it.
    if "client_no_context_takeover" in offer or not client_takes_over:
        client_takes_over = False
        answer.append("client_no_context_takeover")

    if "server_max_window_bits" in unread:
        requested = _WINDOW_BITS.get(unread.pop("server_max_window_bits") or "")
        if requested is None or requested < _LEAST_WINDOW_BITS:
            return None
        server_bits = min(server_bits, requested)
    # 7.1.2.1: it may stand in the response even if the client did not offer it.
    if "server_max_window_bits" in offer or server_bits < _MOST_WINDOW_BITS:
        answer.append(f"server_max_window_bits={server_bits}")

    # 7.1.2.2: "If a received extension negotiation offer doesn't have the "client_max_window_bits"
    # extension parameter, the corresponding extension negotiation response to the offer MUST NOT
    # include" it.
    if "client_max_window_bits" in unread:
        written = unread.pop("client_max_window_bits")
        hinted = _MOST_WINDOW_BITS if written is None else _WINDOW_BITS.get(written)
        if hinted is None:
            return None
        client_bits = min(settings.client_max_window_bits, hinted)
        answer.append(f"client_max_window_bits={client_bits}")

    if unread:
        return None  # 7.1: an offer with a parameter that is not defined for offers is declined
    return Agreement(
        settings,
        server_bits,
        # A client that asks for 8 compresses by zlib, which then uses 9.
        max(client_bits, _LEAST_WINDOW_BITS),
        server_takes_over,
        client_takes_over,
        "; ".join(answer),
    )
