"""The header of the PROXY protocol by itself: haproxy's proxy-protocol.txt, section 2."""

import socket
import struct

import pytest
from together import together

from sockwave.proxy.header import MAX_V1_SIZE, V2_SIGNATURE, ProxyHeader, parse_proxy_header

TCP4, TCP6, UNIX, UNSPEC = 0x11, 0x21, 0x31, 0x00
LOCAL, PROXY = 0x20, 0x21


def v2(
    block: bytes, *, command: int = PROXY, family: int = TCP4, length: int | None = None
) -> bytes:
    """Give a header of version 2."""
    size = len(block) if length is None else length
    return V2_SIGNATURE + struct.pack("!BBH", command, family, size) + block


BLOCK4 = bytes([192, 0, 2, 7, 10, 0, 0, 1]) + struct.pack("!HH", 4711, 443)
BLOCK6 = (
    socket.inet_pton(socket.AF_INET6, "2001:db8::7")
    + socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    + struct.pack("!HH", 4711, 443)
)

LONGEST_V1 = b"PROXY UNKNOWN " + b"x" * (MAX_V1_SIZE - 16) + b"\r\n"

GOOD = {
    b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\n": ("192.0.2.7", 4711),
    b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n": ("255.255.255.255", 65535),
    b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n": ("0.0.0.0", 0),
    b"PROXY TCP6 2001:db8::7 2001:DB8::1 4711 443\r\n": ("2001:db8::7", 4711),
    b"PROXY TCP6 ::ffff:192.0.2.7 ::1 4711 443\r\n": ("192.0.2.7", 4711),
    b"PROXY UNKNOWN\r\n": None,
    b"PROXY UNKNOWN ffff::1 anything at all\r\n": None,
    LONGEST_V1: None,
    v2(BLOCK4): ("192.0.2.7", 4711),
    v2(BLOCK4 + b"\x04\x00\x02hi"): ("192.0.2.7", 4711),
    v2(BLOCK4 + bytes(65535 - 12)): ("192.0.2.7", 4711),
    v2(BLOCK6, family=TCP6): ("2001:db8::7", 4711),
    v2(bytes(216), family=UNIX): ("", 0),
    v2(b"", family=UNSPEC): None,
    v2(b"some bytes", family=UNSPEC): None,
    v2(b"", command=LOCAL, family=UNSPEC): None,
    v2(b"", command=LOCAL, family=0x77): None,
    v2(BLOCK4, command=LOCAL): None,
}

BAD = [
    b"GET / HTTP/1.1\r\n",
    b"\0",
    b"proxy TCP4 192.0.2.7 10.0.0.1 4711 443\r\n",
    b"PROXY\r\n",
    b"PROXY \r\n",
    b"PROXY TCP4\r\n",
    b"PROXY UNKNOWNS\r\n",
    b"PROXY TCP5 192.0.2.7 10.0.0.1 4711 443\r\n",
    b"PROXY UDP4 192.0.2.7 10.0.0.1 4711 443\r\n",
    b"PROXY TCP4 192.0.2.7 10.0.0.1 4711\r\n",
    b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443 1\r\n",
    b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443 \r\n",
    b"PROXY TCP4  192.0.2.7 10.0.0.1 4711 443\r\n",
    b"PROXY TCP4 192.0.2.7 10.0.0.1 04711 443\r\n",
    b"PROXY TCP4 192.0.2.7 10.0.0.1 +4711 443\r\n",
    b"PROXY TCP4 192.0.2.7 10.0.0.1 65536 443\r\n",
    b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 65536\r\n",
    b"PROXY TCP4 192.0.2.07 10.0.0.1 4711 443\r\n",
    b"PROXY TCP4 192.0.2.256 10.0.0.1 4711 443\r\n",
    b"PROXY TCP4 192.0.2.7 10.0.0 4711 443\r\n",
    b"PROXY TCP4 2001:db8::7 2001:db8::1 4711 443\r\n",
    b"PROXY TCP6 192.0.2.7 10.0.0.1 4711 443\r\n",
    b"PROXY TCP6 2001:db8::7%eth0 2001:db8::1 4711 443\r\n",
    b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\n",
    b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\r\n",
    b"PROXY UNKNOWN \r hidden\r\n",
    b"PROXY UNKNOWN " + b"x" * (MAX_V1_SIZE - 15) + b"\r\n",
    b"PROXY UNKNOWN " + b"x" * MAX_V1_SIZE,
    V2_SIGNATURE[:-1] + b"\r" + v2(BLOCK4)[12:],
    v2(BLOCK4, command=0x11),
    v2(BLOCK4, command=0x31),
    v2(BLOCK4, command=0x22),
    v2(BLOCK4, family=0x10),
    v2(BLOCK4, family=0x12),
    v2(BLOCK4, family=0x41),
    v2(BLOCK4[:-1]),
    v2(b"", family=TCP4),
    v2(BLOCK6[:-1], family=TCP6),
    v2(bytes(215), family=UNIX),
]


@together
@pytest.mark.parametrize("data", GOOD, ids=repr)
def test_a_header_is_read_whole_and_nothing_behind_it(data: bytes) -> None:
    expected = ProxyHeader(len(data), GOOD[data])
    assert parse_proxy_header(data) == expected
    assert parse_proxy_header(data + b"\r\nPROXY GET \0") == expected
    step = max(len(data) // 300, 1)
    assert all(parse_proxy_header(data[:size]) is None for size in range(0, len(data), step))
    assert parse_proxy_header(data[:-1]) is None


@together
@pytest.mark.parametrize("data", BAD, ids=repr)
def test_what_is_no_header_raises_however_much_of_it_has_come(data: bytes) -> None:
    assert raises(data + b"behind")
    first = next(size for size in range(len(data) + 1) if raises(data[:size]))
    assert all(raises(data[:size]) for size in range(first, len(data) + 1))


def raises(data: bytes) -> bool:
    try:
        assert parse_proxy_header(data) is None
    except ValueError:
        return True
    return False


def test_the_first_byte_shows_what_is_no_header() -> None:
    assert [byte for byte in range(256) if not raises(bytes([byte]))] == [ord("\r"), ord("P")]


def test_no_other_command_or_family_of_version_2_is_taken() -> None:
    block = bytes(216)
    assert [byte for byte in range(256) if not raises(v2(block, command=byte)[:-1])] == [0x20, 0x21]
    families = [byte for byte in range(256) if not raises(v2(block, family=byte)[:-1])]
    assert families == [UNSPEC, TCP4, TCP6, UNIX]
