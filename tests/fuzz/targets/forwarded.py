"""Forwarded (RFC 7239) and X-Forwarded-*: what trusted proxies tell, and what anybody can write.

Byte 0 chooses which proxies are trusted, and whether they are for the host too; the rest are header
fields, a line each, whose first byte chooses the name.
"""

import ipaddress
import re

from sockwave.core.http.headers import Headers
from sockwave.errors import Refused
from sockwave.proxy.forwarded import Client, find_client
from sockwave.trusted import TrustedNetworks

NAMES = (
    "Forwarded",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "Host",
    "X-Forwarded-Port",
    "X-Forwarded-Port",
)
PORT = re.compile(r"[1-9][0-9]{0,4}")
TRUSTED = (["192.0.2.0/24"], ["192.0.2.0/24", "10.0.0.0/8"], ["0.0.0.0/0"], ["198.51.100.0/24"])
PEER = Client(("192.0.2.1", 1234), False)
STRANGER = {"Forwarded": "for=6.6.6.6", "X-Forwarded-For": "6.6.6.6"}


def run(data: bytes) -> None:
    """Hold one request's fields to what may come of them."""
    if not data:
        return
    trust = TrustedNetworks("trusted_proxies", TRUSTED[data[0] & 3])
    fields = [
        (NAMES[ord(line[0]) & 7], line[1:].strip(" \t"))
        for line in data[1:].decode("latin-1").split("\n")
        if line and line.isprintable()
    ]
    trusts_host = not data[0] & 4
    client = find(fields, trust, trusts_host)
    if client is None:
        return
    if not trust.covers(PEER.address):
        assert client == PEER, "somebody was believed whom nobody trusts"
        return
    check_host(client, fields, trust, trusts_host)
    if client.address in ("", PEER.address):
        return
    assert isinstance(client.address, tuple)
    host, port = client.address
    ipaddress.ip_address(host)
    assert 0 <= port <= 65535
    if not trust.covers(client.address):
        # What a client writes itself stands at the left, and changes nothing.
        forged = list(fields)
        for name, value in STRANGER.items():
            first = next((i for i, field in enumerate(forged) if field[0] == name), None)
            if first is not None:
                forged[first] = (name, f"{value}, {forged[first][1]}")
        again = find(forged, trust, trusts_host)
        assert again is None or again == client, f"forged: {again!r} in place of {client!r}"


def check_host(
    client: Client, fields: list[tuple[str, str]], trust: TrustedNetworks, trusts_host: bool
) -> None:
    """Raise AssertionError where the host is not the one that may be believed, with the port."""
    ports = [
        one.strip(" \t") for name, text in fields if name == NAMES[4] for one in text.split(",")
    ]
    own = next((text for name, text in fields if name == "Host"), None)
    if not any(ports):
        assert trusts_host or client.host is None, f"{client.host!r} is believed"
    elif client.host is not None:
        host, colon, port = client.host.rpartition(":")
        if not colon or port not in ports or not PORT.fullmatch(port):
            host = client.host
        assert trusts_host or (own or "").startswith(host), f"{host!r} is believed"
    if not trusts_host:
        left = [field for field in fields if field[0] != "X-Forwarded-Host"]
        assert find(left, trust, trusts_host) == client, "a host that is not trusted counts"


def find(fields: list[tuple[str, str]], trust: TrustedNetworks, trusts_host: bool) -> Client | None:
    """Give the client, None where the fields are refused."""
    try:
        return find_client(Headers(fields), PEER, trust, trusts_host=trusts_host)
    except Refused as error:
        refused = error
    assert refused.status == 400
    return None
