"""Offers of permessage-deflate: RFC 6455, section 9.1, and RFC 7692, section 7.1.

Byte 0 chooses what the server is willing to do; the rest are the header fields, a line each.
"""

import re

from sockwave import Deflate
from sockwave.deflate import negotiate, read_offers

SETTINGS = tuple(
    Deflate(
        server_max_window_bits=server_bits,
        client_max_window_bits=client_bits,
        server_context_takeover=takeover,
        client_context_takeover=takeover,
    )
    for server_bits, client_bits in ((15, 15), (9, 9), (12, 10), (15, 9))
    for takeover in (False, True)
)

PARAMETER = re.compile(r"(server|client)_(no_context_takeover|max_window_bits(?:=(9|1[0-5]|8))?)")


def run(data: bytes) -> None:
    """Hold one negotiation to what an agreement may say."""
    if not data:
        return
    settings = SETTINGS[data[0] & 7]
    values = data[1:].decode("latin-1").split("\n")
    offers = read_offers(values)
    assert len(offers) <= 16, "offers without end"
    agreement = negotiate(values, settings)
    if agreement is None:
        return
    assert offers, "an agreement on nothing"
    assert 9 <= agreement.server_window_bits <= settings.server_max_window_bits
    assert 9 <= agreement.client_window_bits <= 15
    assert settings.server_context_takeover or not agreement.server_context_takeover
    assert settings.client_context_takeover or not agreement.client_context_takeover
    name, *parameters = agreement.answer.split("; ")
    assert name == "permessage-deflate"
    names = []
    for parameter in parameters:
        assert PARAMETER.fullmatch(parameter), f"answered {agreement.answer!r}"
        names.append(parameter.partition("=")[0])
    assert len(set(names)) == len(names), f"a parameter twice: {agreement.answer!r}"
    # 7.1.2.2: a client that did not say that it knows this parameter must not get it.
    if "client_max_window_bits" in names:
        assert any("client_max_window_bits" in offer for offer in offers)
    assert ("server_no_context_takeover" in names) == (not agreement.server_context_takeover)
    assert ("client_no_context_takeover" in names) == (not agreement.client_context_takeover)
    assert len(read_offers([agreement.answer])) == 1, f"answered {agreement.answer!r}"
