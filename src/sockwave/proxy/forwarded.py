"""The client of a request, as trusted proxies name it: RFC 7239, and the older X-Forwarded-*."""

import re
from dataclasses import dataclass

from sockwave.address import Address, parse_address
from sockwave.core.http.headers import Headers
from sockwave.errors import Refused
from sockwave.fields import is_host
from sockwave.trusted import TrustedNetworks

# Real chains have a few proxies; each one costs a look-up in the trusted networks.
_MAX_HOP_COUNT = 100

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# RFC 7239, 4: forwarded-pair = token "=" value, value = token / quoted-string.
_PAIR = re.compile(rf'({_WORD})=(?:({_WORD})|"((?:[^"\\]|\\.)*)")')
_SPACES = re.compile(r"[ \t]*")
_ESCAPED = re.compile(r"\\(.)")

# RFC 7239, 6: node = nodename [ ":" node-port ]. IPv6 addresses stand in brackets there; in
# X-Forwarded-For they often do not, and have no port then.
_NODE = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:]+))(?::([0-9]{1,5}|_[0-9A-Za-z._-]+))?")
_HIDDEN = re.compile(r"_[0-9A-Za-z._-]+|unknown", re.IGNORECASE)

_PORT = re.compile(r"[1-9][0-9]{0,4}")
# The port behind a host; the colons of an IPv6 address are within brackets, so they do not match.
_HOST_PORT = re.compile(r":[0-9]*\Z")

_SCHEMES = {"https": True, "wss": True, "http": False, "ws": False}


@dataclass(frozen=True, slots=True)
class Client:
    """The client that has sent a request, and how."""

    #: "" where a proxy hides it.
    address: Address
    is_secure: bool
    #: The host that the client has asked for, if a proxy tells one other than the request's Host.
    host: str | None = None


@dataclass(frozen=True, slots=True)
class _Hop:
    """What one proxy tells of the request that it received; None for what it does not tell."""

    node: str | None
    scheme: str | None
    host: str | None


def find_client(
    headers: Headers,
    peer: Client,
    trust: TrustedNetworks,
    *,
    trusts_host: bool = False,
    reads_all: bool = True,
) -> Client:
    """Return the client behind `peer`, if `trust` covers `peer`; else `peer` itself.

    The host that the client has asked for is read only with `trusts_host`: many proxies pass that
    header on as the client has sent it. The port is read either way, and replaces the host's own.
    Unless `reads_all`, X-Forwarded-For and -Proto alone are read.

    Each proxy appends the address that it got the request from at the right of the header. So the
    addresses are read from the right, as long as they are trusted: the first that is not trusted is
    the client's, and what stands to the left of it is ignored. Raises Refused if one of those that
    are read is malformed, if RFC 7239's header and X-Forwarded-* contradict each other, and for too
    long a chain.
    """
    if not trust.covers(peer.address):
        return peer
    readings = [_read_x_forwarded(headers, trusts_host)]
    if reads_all:
        readings.insert(0, _read_forwarded(headers))
    found = [_follow(hops, peer, trust, trusts_host) for hops in readings if hops]
    # A proxy sets one of the two; the other one may come from the client, who could forge it.
    if len(found) == 2 and found[0][0] != found[1][0]:
        raise Refused(400, "Forwarded and X-Forwarded-For tell different things\n")
    client, depth = found[-1] if found else (peer, 1)
    ports = _read_list(headers, "x-forwarded-port") if reads_all else []
    return _add_port(client, headers, ports, depth) if ports else client


def _add_port(client: Client, headers: Headers, ports: list[str], depth: int) -> Client:
    """Return the client with the port it has asked for, as the outermost of `depth` proxies tells.

    Raises Refused if that port, or one told by a proxy nearer to us, is malformed.
    """
    for from_right in range(1, depth + 1):
        port = _pick(ports, from_right) or ""
        if not _PORT.fullmatch(port) or int(port) > 65535:
            raise Refused(400, "a malformed port was forwarded\n")
    host = client.host or headers.get("host")
    if not host:
        return client
    host = _HOST_PORT.sub("", host)
    # RFC 3986, 6.2.3: without the default port, as the client's own URL has it.
    if port != ("443" if client.is_secure else "80"):
        host = f"{host}:{port}"
    return Client(client.address, client.is_secure, host)


def _follow(
    hops: list[_Hop], peer: Client, trust: TrustedNetworks, trusts_host: bool
) -> tuple[Client, int]:
    """Follow the hops from the right, until an address is not trusted or not told.

    Returns the client that the last hop names, and how many hops were read.
    """
    client, depth = peer, 0
    for depth, hop in enumerate(reversed(hops), 1):
        host = client.host if hop.host is None or not trusts_host else hop.host
        if host is not None and not is_host(host):
            raise Refused(400, "a malformed host was forwarded\n")
        secure = peer.is_secure if hop.scheme is None else _SCHEMES.get(hop.scheme.lower())
        if secure is None:
            raise Refused(400, "a malformed scheme was forwarded\n")
        if hop.node is None:
            return Client(client.address, secure, host), depth
        address = _read_node(hop.node)
        client = Client(address, secure, host)
        if not address or not trust.covers(address):
            break
    return client, depth


def _read_node(node: str) -> Address:
    """Parse an address, with its port or 0; "" for a hidden one ("unknown", "_name")."""
    found = _NODE.fullmatch(node)
    try:
        if found is None:
            return str(parse_address(node)), 0
        if found[2] is not None and _HIDDEN.fullmatch(found[2]):
            return ""
        port = found[3] or ""
        number = int(port) if port.isdigit() else 0
        if number <= 65535:
            return str(parse_address(found[1] or found[2])), number
    except ValueError:
        pass
    raise Refused(400, "a malformed address was forwarded\n")


def _read_forwarded(headers: Headers) -> list[_Hop]:
    """Parse the Forwarded header."""
    text = ",".join(headers.get_all("forwarded"))
    hops: list[_Hop] = []
    pairs: dict[str, str] = {}
    position = 0
    while text:
        position = _skip_spaces(text, position)
        if pair := _PAIR.match(text, position):
            name, token, quoted = pair.groups()
            # 4: "Each parameter MUST NOT occur more than once per field-value."
            if name.lower() in pairs:
                raise Refused(400, "malformed Forwarded: a parameter stands there twice\n")
            pairs[name.lower()] = token if quoted is None else _ESCAPED.sub(r"\1", quoted)
            position = _skip_spaces(text, pair.end())
        separator = text[position : position + 1]
        if separator not in ("", ",", ";"):
            raise Refused(400, "malformed Forwarded\n")
        if separator != ";" and pairs:
            hops.append(_Hop(pairs.get("for"), pairs.get("proto"), pairs.get("host")))
            pairs = {}
            _check_count(hops)
        if not separator:
            break
        position += 1
    return hops


def _skip_spaces(text: str, position: int) -> int:
    found = _SPACES.match(text, position)
    return position if found is None else found.end()


def _read_list(headers: Headers, name: str) -> list[str]:
    """Return the elements of a list header; a repeated field counts as one list."""
    value = ",".join(headers.get_all(name))
    return [part.strip(" \t") for part in value.split(",")] if value else []


def _read_x_forwarded(headers: Headers, trusts_host: bool) -> list[_Hop]:
    """Parse X-Forwarded-For with X-Forwarded-Proto and, with `trusts_host`, X-Forwarded-Host."""
    nodes = _read_list(headers, "x-forwarded-for")
    schemes = _read_list(headers, "x-forwarded-proto")
    hosts = _read_list(headers, "x-forwarded-host") if trusts_host else []
    _check_count(nodes)
    if not nodes and (schemes or hosts):
        nodes = [""]
    # The lists are aligned at the right, where proxies append; a proxy that replaces a list leaves
    # a single element.
    return [
        _Hop(node or None, _pick(schemes, len(nodes) - i), _pick(hosts, len(nodes) - i))
        for i, node in enumerate(nodes)
    ]


def _pick(values: list[str], from_right: int) -> str | None:
    """Return the element at that place from the right, or the first where there are fewer."""
    return values[max(len(values) - from_right, 0)] if values else None


def _check_count(hops: "list[_Hop] | list[str]") -> None:
    if len(hops) > _MAX_HOP_COUNT:
        raise Refused(400, f"more than {_MAX_HOP_COUNT} proxies were forwarded through\n")
