"""What a client offers of permessage-deflate, and what it accepts: RFC 7692, section 7.1."""

from collections.abc import Sequence

from sockwave.client.errors import HandshakeError
from sockwave.deflate import NAME, Agreement, Deflate, Parameters, read_parameters

_MOST_BITS = 15
# zlib cannot make a raw deflate stream with a window of 256 bytes.
_LEAST_BITS = 9
# 7.1.2: "a decimal integer value without leading zeroes between 8 to 15, inclusive".
_BITS = {str(bits): bits for bits in range(8, _MOST_BITS + 1)}

_FIELD = "Sec-WebSocket-Extensions"


def write_offer(settings: Deflate) -> str:
    """Return the value of Sec-WebSocket-Extensions in the request.

    A smaller window of the server's is asked for, and a second offer leaves it to the server.
    """
    parameters = [NAME]
    if not settings.server_context_takeover:
        parameters.append("server_no_context_takeover")
    if not settings.client_context_takeover:
        parameters.append("client_no_context_takeover")
    bits = settings.client_max_window_bits
    parameters.append("client_max_window_bits" + (f"={bits}" if bits < _MOST_BITS else ""))
    offer = "; ".join(parameters)
    if settings.server_max_window_bits == _MOST_BITS:
        return offer
    return f"{offer}; server_max_window_bits={settings.server_max_window_bits}, {offer}"


def read_agreement(values: Sequence[str], settings: Deflate | None) -> Agreement | None:
    """Return what the server has agreed to, as its client's codecs see it; None: no extension.

    The client is the one that compresses here, so that its part stands where an `Agreement` has
    the server's. Raises HandshakeError for what was not offered, or is not allowed in a response.
    """
    text = ", ".join(values)
    if not text.strip(" \t,"):
        return None
    name, *written = text.split(";")
    parameters = read_parameters(written)
    # 4.1: an extension "that was not present in the client's handshake" fails the connection.
    if settings is None or name.strip(" \t") != NAME or parameters is None:
        raise HandshakeError(f"{_FIELD}: expected what was offered, given {text!r}")
    return _accept(parameters, settings, text)


def _accept(parameters: Parameters, settings: Deflate, text: str) -> Agreement:
    left = dict(parameters)
    server_takes_over = settings.server_context_takeover
    client_takes_over = settings.client_context_takeover
    if "server_no_context_takeover" in left:
        server_takes_over = False
    elif not server_takes_over:
        # 7.1.1.1: it "accepts an offer that includes" this one "by including" it.
        raise HandshakeError(f"{_FIELD}: expected server_no_context_takeover, given {text!r}")
    if "client_no_context_takeover" in left:
        client_takes_over = False
    for flag in ("server_no_context_takeover", "client_no_context_takeover"):
        if left.pop(flag, None) is not None:
            raise HandshakeError(f"{_FIELD}: expected no value for {flag}, given {text!r}")
    server_bits = _read_bits(left, "server_max_window_bits", 8, _MOST_BITS, text)
    most = settings.client_max_window_bits
    client_bits = _read_bits(left, "client_max_window_bits", _LEAST_BITS, most, text)
    if left:
        raise HandshakeError(f"{_FIELD}: expected known parameters, given {text!r}")
    return Agreement(settings, client_bits, server_bits, client_takes_over, server_takes_over, text)


def _read_bits(left: Parameters, name: str, least: int, most: int, text: str) -> int:
    """Take a size of a window; `most` if the server has not said any."""
    if name not in left:
        return most
    bits = _BITS.get(left.pop(name) or "", 0)
    if not least <= bits <= most:
        raise HandshakeError(f"{_FIELD}: expected {name} of {least} to {most}, given {text!r}")
    return bits
