"""The header of the PROXY protocol, which a proxy sends before all else.

Byte 0 is not used yet, byte 1 chooses how the stream is cut; the rest are bytes, and a request
follows them, so that a whole header is seen by whom it introduces.
"""

import functools
import re
import socket
from ipaddress import IPv6Address

import reference

from fuzz.conversation import feed
from fuzz.memory import MemoryServer
from sockwave.http import Request, Response

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
PEER = ("192.0.2.1", 1234)

V1_LINE = re.compile(rb"PROXY (TCP4|TCP6) (\S+) (\S+) (0|[1-9]\d{0,4}) (0|[1-9]\d{0,4})")
V2_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"

#: Types that mean something, of which one is enough.
COUNTED = {0x01, 0x02, 0x03, 0x05, 0x20, 0x21, 0x23}

#: Family and transport of version 2: the size of its addresses and ports.
V2_SIZES = {0x00: 0, 0x11: 12, 0x21: 36, 0x31: 216}


class Application:
    """Answers each request, and remembers whose it was."""

    def __init__(self) -> None:
        #: The address of each client, and whether it came by TLS.
        self.clients: list[tuple[object, bool]] = []
        self.front = MemoryServer(proxy_protocol="192.0.2.0/24")
        self.front.server.on("request", self.answer)

    def answer(self, request: Request, response: Response) -> None:
        """Answer a request."""
        self.clients.append((request.remote_address, request.is_secure))
        response.end("hello")


@functools.cache
def application() -> Application:
    """Give the one application of this process."""
    return Application()


def run(data: bytes) -> None:
    """Hold one header against what proxy-protocol.txt says of it."""
    if len(data) < 2:
        return
    app = application()
    app.clients.clear()
    peer = app.front.connect()
    wire = data[2:] + REQUEST
    feed(app.front, peer, wire, data[1])
    was_dropped = peer.is_aborted
    app.front.end(peer)
    found = read_header(wire)
    if found is None:
        assert not app.clients, "a request before the end of the header"
    elif found == "refused":
        assert was_dropped, "a connection whose header is none was kept"
        assert not peer.output, f"a header that is none was answered: {bytes(peer.output)!r}"
        assert not app.clients, "a request behind what is no header"
    elif found[0] == len(wire) - len(REQUEST):
        assert app.clients == [found[1:]], f"from {app.clients!r}, expected {found!r}"


def read_header(data: bytes) -> "tuple[int, object, bool] | str | None":
    """Read a header in the slow way: its size, the client's address and whether it came by TLS;
    "refused", or None where there is more to come."""
    if data[:1] == b"P":
        return read_line(data)
    if not V2_SIGNATURE.startswith(data[:12]):
        return "refused"
    if len(data) < 13:
        return None
    if data[12] not in (0x20, 0x21):
        return "refused"
    if len(data) < 16:
        return None
    size = 16 + int.from_bytes(data[14:16], "big")
    if data[12] == 0x20:
        return None if len(data) < size else (size, PEER, False)
    least = V2_SIZES.get(data[13])
    if least is None or size - 16 < least:
        return "refused"
    if len(data) < size:
        return None
    if data[13] == 0x00:
        return size, PEER, False
    is_secure = read_tlvs(data[:size], 16 + least)
    if is_secure is None:
        return "refused"
    block = data[16:size]
    if data[13] == 0x11:
        source = (socket.inet_ntop(socket.AF_INET, block[:4]), number(block[8:10]))
        return size, source, is_secure
    if data[13] == 0x21:
        return size, (spell(block[:16]), number(block[32:34])), is_secure
    return size, ("", 0), is_secure


def read_tlvs(header: bytes, start: int) -> bool | None:
    """Read what stands behind the addresses: whether the client came by TLS; None: malformed."""
    found = list_tlvs(header, start)
    if found is None:
        return None
    is_secure = False
    for kind, value, at in found:
        is_right = True
        if kind == 0x01:
            is_right = is_name(value, "ascii")
        elif kind == 0x02:
            is_right = is_name(value, "utf-8")
        elif kind == 0x03:
            zeros = header[:at] + bytes(4) + header[at + 4 :]
            is_right = len(value) == 4 and number(value) == reference.crc32c(zeros)
        elif kind == 0x05:
            is_right = len(value) <= 128
        elif kind == 0x20:
            inner = list_tlvs(value, 5)
            is_secure = bool(value) and bool(value[0] & 1)
            is_right = inner is not None and not (is_secure and has_wrong_name(inner))
        if not is_right:
            return None
    return is_secure


def has_wrong_name(found: list[tuple[int, bytes, int]]) -> bool:
    """Tell whether version or cipher cannot be shown."""
    return any(kind in (0x21, 0x23) and not is_name(value, "ascii") for kind, value, _ in found)


def list_tlvs(data: bytes, at: int) -> list[tuple[int, bytes, int]] | None:
    """Give the type and the value of each, and where that begins; None where one is cut off, or
    stands there twice that counts."""
    found = []
    if at > len(data):
        return None
    while at < len(data):
        size = number(data[at + 1 : at + 3])
        if at + 3 + size > len(data):
            return None
        found.append((data[at], data[at + 3 : at + 3 + size], at + 3))
        at += 3 + size
    counted = [kind for kind, _, _ in found if kind in COUNTED]
    return found if len(set(counted)) == len(counted) else None


def is_name(value: bytes, encoding: str) -> bool:
    """Tell whether a name can be shown."""
    try:
        return len(value) < 256 and value.decode(encoding).isprintable()
    except UnicodeDecodeError:
        return False


def read_line(data: bytes) -> "tuple[int, object, bool] | str | None":
    """Read a header of version 1."""
    if not data.startswith(b"PROXY "):
        return None if b"PROXY ".startswith(data) else "refused"
    line, end, _ = data[:107].partition(b"\n")
    if not end:
        return None if len(data) < 107 else "refused"
    size = len(line) + 1
    if not line.endswith(b"\r") or line.count(b"\r") > 1:
        return "refused"
    line = line[:-1]
    if line == b"PROXY UNKNOWN" or line.startswith(b"PROXY UNKNOWN "):
        return size, PEER, False
    found = V1_LINE.fullmatch(line)
    if found is None or max(int(found[4]), int(found[5])) > 65535:
        return "refused"
    family = socket.AF_INET if found[1] == b"TCP4" else socket.AF_INET6
    try:
        source, _ = (socket.inet_pton(family, found[i].decode("ascii")) for i in (2, 3))
    except (OSError, ValueError):
        return "refused"
    host = socket.inet_ntop(family, source) if family is socket.AF_INET else spell(source)
    return size, (host, int(found[4])), False


def spell(packed: bytes) -> str:
    """Write an address of IPv6, or the one of IPv4 that it stands for."""
    if packed[:12] == b"\0" * 10 + b"\xff\xff":
        return socket.inet_ntop(socket.AF_INET, packed[12:])
    return str(IPv6Address(packed))


def number(packed: bytes) -> int:
    """Read a port."""
    return int.from_bytes(packed, "big")
