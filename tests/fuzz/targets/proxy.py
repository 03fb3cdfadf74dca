"""The header of the PROXY protocol, which a proxy sends before all else.

Byte 0 is not used yet, byte 1 chooses how the stream is cut; the rest are bytes, and a request
follows them, so that a whole header is seen by whom it introduces.
"""

import functools
import re
import socket
from ipaddress import IPv6Address

from fuzz.conversation import feed
from fuzz.memory import MemoryServer
from sockwave.http import Request, Response

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
PEER = ("192.0.2.1", 1234)

V1_LINE = re.compile(rb"PROXY (TCP4|TCP6) (\S+) (\S+) (0|[1-9]\d{0,4}) (0|[1-9]\d{0,4})")
V2_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"

#: Family and transport of version 2: the size of its addresses and ports.
V2_SIZES = {0x00: 0, 0x11: 12, 0x21: 36, 0x31: 216}


class Application:
    """Answers each request, and remembers whose it was."""

    def __init__(self) -> None:
        self.addresses: list[object] = []
        self.front = MemoryServer(proxy_protocol="192.0.2.0/24")
        self.front.server.on("request", self.answer)

    def answer(self, request: Request, response: Response) -> None:
        """Answer a request."""
        self.addresses.append(request.remote_address)
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
    app.addresses.clear()
    peer = app.front.connect()
    wire = data[2:] + REQUEST
    feed(app.front, peer, wire, data[1])
    was_dropped = peer.is_aborted
    app.front.end(peer)
    found = read_header(wire)
    if found is None:
        assert not app.addresses, "a request before the end of the header"
    elif found == "refused":
        assert was_dropped, "a connection whose header is none was kept"
        assert not peer.output, f"a header that is none was answered: {bytes(peer.output)!r}"
        assert not app.addresses, "a request behind what is no header"
    elif found[0] == len(wire) - len(REQUEST):
        assert app.addresses == [found[1]], f"from {app.addresses!r}, expected {found!r}"


def read_header(data: bytes) -> "tuple[int, object] | str | None":
    """Read a header in the slow way: its size and the client's address, "refused", or None where
    there is more to come."""
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
        return None if len(data) < size else (size, PEER)
    least = V2_SIZES.get(data[13])
    if least is None or size - 16 < least:
        return "refused"
    if len(data) < size:
        return None
    block = data[16:size]
    if data[13] == 0x11:
        return size, (socket.inet_ntop(socket.AF_INET, block[:4]), number(block[8:10]))
    if data[13] == 0x21:
        return size, (spell(block[:16]), number(block[32:34]))
    return size, PEER if data[13] == 0x00 else ""


def read_line(data: bytes) -> "tuple[int, object] | str | None":
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
        return size, PEER
    found = V1_LINE.fullmatch(line)
    if found is None or max(int(found[4]), int(found[5])) > 65535:
        return "refused"
    family = socket.AF_INET if found[1] == b"TCP4" else socket.AF_INET6
    try:
        source, _ = (socket.inet_pton(family, found[i].decode("ascii")) for i in (2, 3))
    except (OSError, ValueError):
        return "refused"
    host = socket.inet_ntop(family, source) if family is socket.AF_INET else spell(source)
    return size, (host, int(found[4]))


def spell(packed: bytes) -> str:
    """Write an address of IPv6, or the one of IPv4 that it stands for."""
    if packed[:12] == b"\0" * 10 + b"\xff\xff":
        return socket.inet_ntop(socket.AF_INET, packed[12:])
    return str(IPv6Address(packed))


def number(packed: bytes) -> int:
    """Read a port."""
    return int.from_bytes(packed, "big")
