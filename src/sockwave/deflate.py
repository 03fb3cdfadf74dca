"""permessage-deflate: its settings, and what a server and a client agree on (RFC 7692, section 7).

Offers are read as RFC 6455, section 9.1, writes them. One that is malformed, or that cannot be
met, is declined: the connection does without, and nothing is ever raised because of a client.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from importlib import import_module
from typing import Any

from sockwave.fields import is_token

NAME = "permessage-deflate"

# What an attacker may make us look at; honest clients offer once or twice, with four parameters.
_OFFER_COUNT = 16
_PARAMETER_COUNT = 4
_QUOTE_COUNT = 2 * _OFFER_COUNT * _PARAMETER_COUNT

# 7.1.2: "a decimal integer value without leading zeroes between 8 to 15, inclusive".
_WINDOW_BITS = {str(bits): bits for bits in range(8, 16)}

# zlib makes no raw deflate stream with a window of 256 bytes.
_LEAST_WINDOW_BITS = 9
_MOST_WINDOW_BITS = 15

# Parameters without a value are None.
Parameters = dict[str, str | None]


def _load_library() -> Any:
    """Give zlib-ng's module where it is installed, else the standard library's, which is alike."""
    try:
        return import_module("zlib_ng.zlib_ng")
    except ImportError:
        return zlib


#: What compresses and inflates; a server takes what stands here when it starts.
library = _load_library()


def _whole(default: int, least: int, most: int | None) -> Any:
    """Declare a setting that is an int between `least` and `most`."""
    return field(default=default, metadata={"least": least, "most": most})


@dataclass(frozen=True, slots=True, kw_only=True)
class Deflate:
    """How a server compresses: the settings of permessage-deflate (RFC 7692).

    The defaults are made for many connections, and for messages that may hold secrets: each stands
    alone, and no connection has a compressor or an inflater of its own. What one compressed message
    may come to is the server's `max_size`, which holds for a message as it arrives as well as
    inflated.

    Raises TypeError or ValueError naming the setting, what was expected and what was given.
    """

    #: Of our window, as a power of two: 9 to 15, so 512 bytes to 32 KiB. A client may ask for less.
    server_max_window_bits: int = _whole(12, _LEAST_WINDOW_BITS, _MOST_WINDOW_BITS)
    #: Of the client's. One that does not know the parameter may use 15 all the same.
    client_max_window_bits: int = _whole(12, _LEAST_WINDOW_BITS, _MOST_WINDOW_BITS)
    #: How much the compressor remembers, 1 to 9: it takes 2^(window bits + 2) + 2^(this + 9) bytes.
    memory_level: int = _whole(5, 1, 9)
    #: 0 (none) to 9 (slow). 2 takes three quarters of the time of zlib's own 6 for JSON of 1 KiB,
    #: and makes it no more than a sixth larger.
    level: int = _whole(2, 0, 9)
    #: True: what we send may refer to the end of what we sent before, which makes similar messages
    #: small (7.1.1.1). A message that may yet be dropped (`slow="drop_old"`, "conflate") and a
    #: broadcast, which is compressed once for all, refer to nothing. A client may decline. JSON of
    #: 1 KiB takes a third less on the wire, and no more time, as there is less to write; but the
    #: size of a message then tells something of those before it.
    server_context_takeover: bool = False
    #: Of that end, in bytes, and no more than our window: 1 to 32,768. So much a connection holds
    #: that was sent a compressed message, and each KiB takes about a microsecond of each message.
    #: For JSON of 1 KiB, 2 KiB make it a twentieth smaller than 1 KiB do, and 4 KiB no more.
    server_history_size: int = _whole(1024, 1, 1 << _MOST_WINDOW_BITS)
    #: True: what the client sends may refer to what it sent before; it costs each connection the
    #: client's window.
    client_context_takeover: bool = False
    #: In bytes: smaller messages are sent as they are, as they gain little.
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
    """What holds for one connection; `answer` is the value of its Sec-WebSocket-Extensions."""

    settings: Deflate
    server_window_bits: int
    client_window_bits: int
    server_context_takeover: bool
    client_context_takeover: bool
    answer: str


def negotiate(values: Sequence[str], settings: Deflate) -> Agreement | None:
    """Return what the first acceptable offer leads to, None when there is none.

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
            offer = _read_parameters(parameters)
            if offer is not None:
                offers.append(offer)
    return offers


def _blank_quoted(text: str) -> str:
    """Make each quoted string safe to split at separators: what is no token in it becomes NUL.

    "When using the quoted-string syntax variant, the value after quoted-string unescaping MUST
    conform to the 'token' ABNF." A token needs no backslash, so whatever stands behind one is
    taken for malformed, like a quoted string without an end.
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


def _read_parameters(written: Sequence[str]) -> Parameters | None:
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
    """Return what an offer leads to, None for one that has to be declined (section 7.1)."""
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
        asked = _WINDOW_BITS.get(unread.pop("server_max_window_bits") or "")
        if asked is None or asked < _LEAST_WINDOW_BITS:
            return None
        server_bits = min(server_bits, asked)
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
        return None  # 7.1: so is one with a parameter that is not defined for offers
    return Agreement(
        settings,
        server_bits,
        # Clients that ask for 8 are made with a zlib that then uses 9.
        max(client_bits, _LEAST_WINDOW_BITS),
        server_takes_over,
        client_takes_over,
        "; ".join(answer),
    )
