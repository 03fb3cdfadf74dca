"""The TLVs behind the addresses of a PROXY header of version 2: proxy-protocol.txt, 2.2."""

import enum
import functools
from collections.abc import Iterator
from dataclasses import dataclass

from sockwave.tls_info import TLSInfo


class _Type(enum.IntEnum):
    """The types that are read here; "A receiver may choose to skip over" all others."""

    ALPN = 0x01
    AUTHORITY = 0x02
    CRC32C = 0x03
    UNIQUE_ID = 0x05
    SSL = 0x20
    # Within SSL alone:
    SSL_VERSION = 0x21
    SSL_CIPHER = 0x23


_KNOWN = frozenset(_Type)

_HEAD_SIZE = 3  # "a TLV can not be smaller than that": type, and length in two bytes
_CRC_SIZE = 4
_SSL_HEAD_SIZE = 5  # the bits of <client>, and <verify> in four bytes
_CLIENT_SSL = 0x01

# 2.2.5: "an opaque byte sequence of up to 128 bytes".
_MAX_UNIQUE_ID_SIZE = 128
# RFC 7301, 3.1, and RFC 1035, 2.3.4. The names of versions and ciphers are shorter.
_MAX_NAME_SIZE = 255

_CASTAGNOLI = 0x82F63B78  # RFC 3385, 4: the polynomial of CRC32C, its lowest bit first


@functools.cache
def _fill_table() -> tuple[int, ...]:
    """Compute the table of CRC32C for one byte at a time."""
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (_CASTAGNOLI if value & 1 else 0)
        table.append(value)
    return tuple(table)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a proxy tells of its client's connection beside the addresses; None: not told."""

    #: Whether the client is connected to the proxy by TLS.
    is_secure: bool | None = None
    #: "TLSv1.3", and the name of the cipher suite.
    tls_version: str | None = None
    cipher: str | None = None
    #: The host that the client named: with TLS, its "server_name" (RFC 6066, 3).
    authority: str | None = None
    #: The protocol of RFC 7301.
    alpn: str | None = None

    def to_tls_info(self) -> TLSInfo:
        """Return what is told of the TLS session between client and proxy, "" for the rest.

        It has no client certificate: to verify one is the proxy's task.
        """
        return TLSInfo(self.tls_version or "", self.cipher or "", self.alpn, None, self.authority)


NO_FACTS = Facts()


def crc32c(data: bytes) -> int:
    """Return the checksum of RFC 9260, appendix A."""
    crc, table = 0xFFFFFFFF, _fill_table()
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def read_facts(header: bytes, start: int) -> Facts:
    """Read the TLVs of a whole `header`, which begin at `start` and end with it.

    Raises ValueError for malformed TLVs, for a wrong checksum, and for a second TLV of a type that
    is read here: it would be ambiguous which of the two counts.
    """
    if start == len(header):
        return NO_FACTS
    values: dict[int, bytes] = {}
    for kind, begin, end in _split(header, start, len(header)):
        if kind == _Type.CRC32C:
            _check_crc(header, begin, end)
        _keep(values, kind, header[begin:end])
    if len(values.get(_Type.UNIQUE_ID, b"")) > _MAX_UNIQUE_ID_SIZE:
        raise ValueError(f"expected a unique ID of at most {_MAX_UNIQUE_ID_SIZE} bytes")
    is_secure = version = cipher = None
    if (block := values.get(_Type.SSL)) is not None:
        is_secure, version, cipher = _read_ssl(block)
    return Facts(
        is_secure,
        version,
        cipher,
        _read_name(values.get(_Type.AUTHORITY), "utf-8"),
        _read_name(values.get(_Type.ALPN), "ascii"),
    )


def _split(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield the type of each TLV, and where its value begins and ends."""
    while start < end:
        begin = start + _HEAD_SIZE
        stop = begin + int.from_bytes(data[start + 1 : begin], "big")
        if begin > end or stop > end:
            raise ValueError(f"expected whole TLVs, given {end - start} bytes of one")
        yield data[start], begin, stop
        start = stop


def _keep(values: dict[int, bytes], kind: int, value: bytes) -> None:
    """Keep the value of a known type; raise ValueError if there is one already."""
    if kind in _KNOWN:
        if kind in values:
            raise ValueError(f"expected one TLV of type {kind:#04x}, given another")
        values[kind] = value


def _check_crc(header: bytes, begin: int, end: int) -> None:
    """Raise ValueError unless the checksum between `begin` and `end` is that of the header.

    "replace the 32 bits of the checksum field in the received PROXY header with all '0's and
    calculate a CRC32c checksum value of the whole PROXY header". With another value there, the
    header "MUST" be taken for "invalid".
    """
    if end - begin != _CRC_SIZE:
        raise ValueError(f"expected a checksum of {_CRC_SIZE} bytes, given {end - begin}")
    given = int.from_bytes(header[begin:end], "big")
    found = crc32c(header[:begin] + bytes(_CRC_SIZE) + header[end:])
    if given != found:
        raise ValueError(f"expected the checksum {found:#010x}, given {given:#010x}")


def _read_ssl(block: bytes) -> tuple[bool, str | None, str | None]:
    """Return whether the client is connected by TLS, its version and its cipher suite."""
    if len(block) < _SSL_HEAD_SIZE:
        raise ValueError(f"expected {_SSL_HEAD_SIZE} bytes about TLS or more, given {len(block)}")
    values: dict[int, bytes] = {}
    for kind, begin, end in _split(block, _SSL_HEAD_SIZE, len(block)):
        _keep(values, kind, block[begin:end])
    if not block[0] & _CLIENT_SSL:
        return False, None, None
    version = _read_name(values.get(_Type.SSL_VERSION), "ascii")
    return True, version, _read_name(values.get(_Type.SSL_CIPHER), "ascii")


def _read_name(value: bytes | None, encoding: str) -> str | None:
    """Decode a name; None if it is missing or empty."""
    if not value:
        return None
    if len(value) > _MAX_NAME_SIZE:
        raise ValueError(f"expected a name of at most {_MAX_NAME_SIZE} bytes, given {len(value)}")
    try:
        name = value.decode(encoding)
    except UnicodeDecodeError:
        raise ValueError(f"expected a name in {encoding.upper()}, given {value!r}") from None
    if not name.isprintable():
        raise ValueError(f"expected a printable name, given {value!r}")
    return name
