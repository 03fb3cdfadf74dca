"""What stands behind the addresses of a PROXY header: haproxy's proxy-protocol.txt, section 2.2."""

import struct

import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from test_proxy_header import BLOCK4, BLOCK6, TCP6, UNIX, UNSPEC, v2
from together import together

from sockwave.proxy.header import parse_proxy_header
from sockwave.proxy.tlv import NO_FACTS, Facts, crc32c, read_facts

ALPN, AUTHORITY, CRC32C, NOOP, UNIQUE_ID, SSL = 0x01, 0x02, 0x03, 0x04, 0x05, 0x20
SSL_VERSION, SSL_CN, SSL_CIPHER = 0x21, 0x22, 0x23
BY_TLS, WITH_CERTIFICATE = 0x01, 0x02


def tlv(kind: int, value: bytes) -> bytes:
    """Give a TLV."""
    return struct.pack("!BH", kind, len(value)) + value


def ssl_tlv(client: int = BY_TLS, *subs: bytes, verify: int = 0) -> bytes:
    """Give a TLV about TLS."""
    return tlv(SSL, struct.pack("!BI", client, verify) + b"".join(subs))


def with_crc(block: bytes, *, family: int = 0x11, behind: bytes = b"", add: int = 0) -> bytes:
    """Give a header with its checksum behind `block`, and what stands behind that."""
    zeros = v2(block + tlv(CRC32C, bytes(4)) + behind, family=family)
    crc = struct.pack("!I", (reference.crc32c(zeros) + add) & 0xFFFFFFFF)
    return v2(block + tlv(CRC32C, crc) + behind, family=family)


VERSION = tlv(SSL_VERSION, b"TLSv1.3")
CIPHER = tlv(SSL_CIPHER, b"TLS_AES_256_GCM_SHA384")

GOOD = {
    b"": NO_FACTS,
    tlv(NOOP, b""): NO_FACTS,
    tlv(NOOP, b"\0" * 300): NO_FACTS,
    tlv(NOOP, b"") * 5: NO_FACTS,
    tlv(0xEA, b"\x01vpce-08d2bf15fac5001c9"): NO_FACTS,
    tlv(0xF9, b"") * 2: NO_FACTS,
    tlv(UNIQUE_ID, bytes(128)): NO_FACTS,
    tlv(ALPN, b"http/1.1"): Facts(alpn="http/1.1"),
    tlv(ALPN, b""): NO_FACTS,
    tlv(AUTHORITY, b"example.com"): Facts(authority="example.com"),
    tlv(AUTHORITY, "bücher.example".encode()): Facts(authority="bücher.example"),
    tlv(AUTHORITY, b"a" * 255): Facts(authority="a" * 255),
    ssl_tlv(): Facts(True),
    ssl_tlv(0): Facts(False),
    ssl_tlv(WITH_CERTIFICATE, VERSION): Facts(False),
    ssl_tlv(0xFF): Facts(True),
    ssl_tlv(BY_TLS, VERSION, CIPHER): Facts(True, "TLSv1.3", "TLS_AES_256_GCM_SHA384"),
    ssl_tlv(BY_TLS, CIPHER, tlv(SSL_CN, b"\xff"), VERSION, verify=1): Facts(
        True, "TLSv1.3", "TLS_AES_256_GCM_SHA384"
    ),
    tlv(ALPN, b"h2") + tlv(AUTHORITY, b"a") + ssl_tlv(BY_TLS, VERSION): Facts(
        True, "TLSv1.3", None, "a", "h2"
    ),
}

BAD = [
    b"\x04",
    b"\x04\x00",
    b"\x04\x00\x01",
    tlv(NOOP, b"ab")[:-1],
    tlv(NOOP, b"") + b"\x20",
    tlv(NOOP, b"") + b"\x20\xff\xff" + bytes(5),
    tlv(SSL, b""),
    tlv(SSL, b"\x01\0\0\0"),
    ssl_tlv(BY_TLS, b"\x21"),
    ssl_tlv(BY_TLS, b"\x21\x00"),
    ssl_tlv(BY_TLS, b"\x21\x00\x08TLSv1.3"),
    ssl_tlv(0, b"\x21\x00\x08TLSv1.3"),
    # It reaches over the end of its TLV, into the next one.
    ssl_tlv(BY_TLS, b"\x21\x00\x03") + tlv(NOOP, b"abc"),
    ssl_tlv(BY_TLS, VERSION, VERSION),
    ssl_tlv(BY_TLS, tlv(SSL_VERSION, b"\xff")),
    ssl_tlv(BY_TLS, tlv(SSL_CIPHER, b"a\nb")),
    ssl_tlv() + ssl_tlv(),
    ssl_tlv() + ssl_tlv(0),
    tlv(AUTHORITY, b"a") * 2,
    tlv(ALPN, b"a") + tlv(ALPN, b"b"),
    tlv(AUTHORITY, b"\xff"),
    tlv(AUTHORITY, b"a" * 256),
    tlv(AUTHORITY, b"a\r\nb"),
    tlv(AUTHORITY, b"a\x1b[2J"),
    tlv(AUTHORITY, "\u202e".encode()),
    tlv(ALPN, b"\x80"),
    tlv(UNIQUE_ID, bytes(129)),
    tlv(CRC32C, b""),
    tlv(CRC32C, bytes(3)),
    tlv(CRC32C, bytes(5)),
    tlv(CRC32C, bytes(4)),
]


@together
@pytest.mark.parametrize("tlvs", GOOD, ids=repr)
@pytest.mark.parametrize(
    ("block", "family"), [(BLOCK4, 0x11), (BLOCK6, TCP6), (bytes(216), UNIX)], ids=["4", "6", "un"]
)
def test_what_a_proxy_tells_is_read_behind_every_family(
    tlvs: bytes, block: bytes, family: int
) -> None:
    plain = parse_proxy_header(v2(block, family=family))
    for data in (v2(block + tlvs, family=family), with_crc(block + tlvs, family=family)):
        header = parse_proxy_header(data + b"behind")
        assert plain is not None
        assert header is not None
        assert header.facts == GOOD[tlvs]
        assert header.source == plain.source
        assert header.size == len(data)
        assert parse_proxy_header(data[:-1]) is None


@together
@pytest.mark.parametrize("tlvs", BAD, ids=repr)
def test_what_is_malformed_makes_the_header_none(tlvs: bytes) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_proxy_header(v2(BLOCK4 + tlvs))
    assert parse_proxy_header(v2(BLOCK4 + tlvs)[:-1]) is None


@together
@pytest.mark.parametrize("tlvs", [*GOOD, *BAD], ids=repr)
def test_nothing_is_read_where_the_proxy_speaks_for_itself(tlvs: bytes) -> None:
    for data in (v2(BLOCK4 + tlvs, command=0x20), v2(tlvs, family=UNSPEC)):
        header = parse_proxy_header(data)
        assert header is not None
        assert header.source is None
        assert header.facts == NO_FACTS


def test_version_1_tells_nothing() -> None:
    header = parse_proxy_header(b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\n")
    assert header is not None
    assert header.facts == NO_FACTS


@together
@pytest.mark.parametrize("add", [1, -1, 1 << 31])
@pytest.mark.parametrize("behind", [b"", tlv(NOOP, b"abc"), ssl_tlv()])
def test_a_checksum_covers_the_whole_header(add: int, behind: bytes) -> None:
    assert parse_proxy_header(with_crc(BLOCK4, behind=behind)) is not None
    with pytest.raises(ValueError, match="checksum"):
        parse_proxy_header(with_crc(BLOCK4, behind=behind, add=add))
    data = with_crc(BLOCK4, behind=behind)
    for at in range(16, len(data)):
        broken = bytearray(data)
        broken[at] ^= 1
        with pytest.raises(ValueError, match="expected"):
            parse_proxy_header(bytes(broken))


@pytest.mark.parametrize(
    ("data", "checksum"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        # RFC 3720, B.4.
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
    ],
)
def test_checksums_are_those_of_the_standard(data: bytes, checksum: int) -> None:
    assert crc32c(data) == checksum


@given(st.binary(max_size=100))
def test_checksums_are_those_of_the_slow_way(data: bytes) -> None:
    assert crc32c(data) == reference.crc32c(data)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        facts = read_facts(b"head" + data, 4)
    except ValueError:
        return
    assert isinstance(facts, Facts)
