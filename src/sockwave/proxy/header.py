"""The header of the PROXY protocol, versions 1 and 2: haproxy's proxy-protocol.txt, section 2."""

import ipaddress
import re
from dataclasses import dataclass

from sockwave.address import parse_address
from sockwave.proxy.tlv import NO_FACTS, Facts, read_facts

# 2.1: "a 107-byte buffer is always enough to store all the line".
MAX_V1_SIZE = 107
_V1_PREFIX = b"PROXY "

# "The source port ... in the range [0..65535] inclusive. Leading zeroes are not permitted".
_V1_LINE = re.compile(
    rb"PROXY (TCP[46]) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})"
)

V2_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_V2_HEAD_SIZE = 16
_V2_LOCAL, _V2_PROXY = 0x20, 0x21

# 2.2: family and transport → the size of the address block: both addresses, then both ports.
# The families for datagrams are missing: a proxy that connects by a stream relays a stream.
_V2_UNSPEC, _V2_TCP4, _V2_TCP6, _V2_UNIX = 0x00, 0x11, 0x21, 0x31
_V2_SIZES = {_V2_UNSPEC: 0, _V2_TCP4: 12, _V2_TCP6: 36, _V2_UNIX: 216}


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """The content of a header, and its size in bytes."""

    size: int
    #: The client's address; None where the proxy connects for itself or does not know the client:
    #: then the peer's own address counts. The host of a client of a Unix socket is "".
    source: tuple[str, int] | None
    #: What else the proxy tells of the client's connection, in version 2 only.
    facts: Facts = NO_FACTS


def parse_proxy_header(data: bytes | bytearray) -> ProxyHeader | None:
    """Parse the header at the front of `data`; None while it is incomplete.

    Raises ValueError if `data` is no header, at the first byte that shows it.
    """
    if data[:1] == _V1_PREFIX[:1]:
        return _parse_v1(data)
    return _parse_v2(data)


def _check_prefix(data: bytes | bytearray, prefix: bytes) -> bool:
    """Tell whether `data` begins with all of `prefix`; ValueError if it begins otherwise."""
    begun = data[: len(prefix)]
    if not prefix.startswith(begun):
        raise ValueError(f"expected a PROXY header, given {bytes(begun)!r}")
    return len(begun) == len(prefix)


def _parse_v1(data: bytes | bytearray) -> ProxyHeader | None:
    """Parse version 1: a line of text."""
    if not _check_prefix(data, _V1_PREFIX):
        return None
    end = data.find(b"\n", 0, MAX_V1_SIZE)
    if end < 0:
        if len(data) >= MAX_V1_SIZE:
            raise ValueError(f"expected a line of at most {MAX_V1_SIZE} bytes")
        return None
    line = bytes(data[: end + 1])
    if not line.endswith(b"\r\n") or line.count(b"\r") != 1:
        raise ValueError(f"expected a line that ends with CRLF, given {line!r}")
    line, size = line[:-2], end + 1
    # "the receiver must ignore anything presented before the CRLF"
    if line == b"PROXY UNKNOWN" or line.startswith(b"PROXY UNKNOWN "):
        return ProxyHeader(size, None)
    found = _V1_LINE.fullmatch(line)
    if found is None:
        raise ValueError(f"expected family, two addresses and two ports, given {line!r}")
    kind = ipaddress.IPv4Address if found[1] == b"TCP4" else ipaddress.IPv6Address
    source, _ = str(kind(found[2].decode())), kind(found[3].decode())
    ports = int(found[4]), int(found[5])
    if max(ports) > 65535:
        raise ValueError(f"expected ports up to 65535, given {line!r}")
    return ProxyHeader(size, (str(parse_address(source)), ports[0]))


def _parse_v2(data: bytes | bytearray) -> ProxyHeader | None:
    """Parse version 2, the binary one."""
    if not _check_prefix(data, V2_SIGNATURE):
        return None
    # "Receivers must drop connections presenting unexpected values here", of command and family.
    if len(data) > 12 and data[12] not in (_V2_LOCAL, _V2_PROXY):
        raise ValueError(f"expected version 2 and a known command, given {data[12]:#04x}")
    if len(data) < _V2_HEAD_SIZE:
        return None
    command, family, length = data[12], data[13], int.from_bytes(data[14:16], "big")
    size = _V2_HEAD_SIZE + length
    # LOCAL: "the receiver must accept this connection as valid and must use the real connection
    # endpoints and discard the protocol block including the family which is ignored."
    if command == _V2_PROXY:
        if family not in _V2_SIZES:
            raise ValueError(f"expected a known family of streams, given {family:#04x}")
        if length < _V2_SIZES[family]:
            raise ValueError(f"expected room for the addresses, given {length} bytes")
    if len(data) < size:
        return None
    # Without addresses it is undefined where the address block ends, and so where TLVs would begin.
    if command == _V2_LOCAL or family == _V2_UNSPEC:
        return ProxyHeader(size, None)
    header = bytes(data[:size])
    # "The receiver must not start to parse an address before the whole address block is received."
    facts = read_facts(header, _V2_HEAD_SIZE + _V2_SIZES[family])
    return ProxyHeader(size, _read_v2_source(family, header[_V2_HEAD_SIZE:]), facts)


def _read_v2_source(family: int, block: bytes) -> tuple[str, int]:
    """Return the source address of the address block."""
    if family == _V2_UNIX:
        return "", 0
    if family == _V2_TCP4:
        return str(ipaddress.IPv4Address(block[:4])), int.from_bytes(block[8:10], "big")
    source = parse_address(str(ipaddress.IPv6Address(block[:16])))
    return str(source), int.from_bytes(block[32:34], "big")
