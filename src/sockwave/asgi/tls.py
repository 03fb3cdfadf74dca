"""The extension `tls`: what a scope tells of the client's TLS session."""

import functools
import ssl
from typing import Any

from sockwave.tls_info import TLSInfo

_VERSIONS = {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}

#: RFC 4514, 3: the short names that a distinguished name is written with.
_ATTRIBUTES = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}


def describe_tls(info: TLSInfo) -> dict[str, Any]:
    """Return the extension, with None or an empty list for what a `TLSInfo` does not know."""
    certificate = info.peer_certificate
    return {
        "server_cert": info._server_pem,
        "client_cert_chain": list(info._client_pems),
        "client_cert_name": None if certificate is None else _name(certificate.get("subject", ())),
        # A client whose certificate cannot be verified does not get so far.
        "client_cert_error": None,
        "tls_version": _VERSIONS.get(info.version),
        "cipher_suite": _cipher_numbers().get(info.cipher),
    }


@functools.cache
def _cipher_numbers() -> dict[str, int]:
    """Return the numbers of cipher suites (RFC 8446, B.4) by OpenSSL's names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL")
    return {one["name"]: one["id"] & 0xFFFF for one in context.get_ciphers()}


def _name(subject: tuple[tuple[tuple[str, str], ...], ...]) -> str:
    """Return a distinguished name as RFC 4514, section 2, writes it: the last part first."""
    return ",".join(
        "+".join(f"{_ATTRIBUTES.get(name, name)}={_escape(value)}" for name, value in part)
        for part in reversed(subject)
    )


def _escape(value: str) -> str:
    r"""Return a value with a backslash before each character that RFC 4514, 2.4, lists."""
    escaped = "".join(f"\\{one}" if one in '"+,;<>\\' else one for one in value)
    escaped = escaped.replace("\0", "\\00")
    if escaped.startswith((" ", "#")):
        escaped = "\\" + escaped
    return escaped[:-1] + "\\ " if escaped.endswith(" ") and len(escaped) > 1 else escaped
