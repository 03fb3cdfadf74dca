"""What was negotiated in one TLS session: RFC 8446, and RFC 5246 for TLS 1.2."""

import functools
import ssl
from dataclasses import dataclass, field
from typing import Any

from sockwave.documented import describe_fields


@dataclass(frozen=True, slots=True)
class TLSInfo:
    """The facts of one TLS session, as `conn.tls` gives them."""

    #: "TLSv1.3" or "TLSv1.2".
    version: str
    #: The cipher suite, as OpenSSL names it.
    cipher: str
    #: The protocol chosen by ALPN (RFC 7301); None where the client or the context offered none.
    alpn: str | None
    #: The client's verified certificate, in the form of `ssl.SSLSocket.getpeercert`; None where it
    #: sent none. A context asks for one with `verify_mode`.
    peer_certificate: dict[str, Any] | None
    #: The host that the client named (SNI: RFC 6066, 3), if a proxy has terminated TLS and passes
    #: it on. For the server's own TLS sessions this is None: the context's `sni_callback` gets it.
    server_name: str | None = None
    # In PEM: the certificate that the client was shown, if that is known, and the client's own with
    # those behind it that it has sent and that were verified.
    _server_pem: str | None = field(default=None, repr=False, compare=False)
    _client_pems: tuple[str, ...] = field(default=(), repr=False, compare=False)


describe_fields(
    TLSInfo,
    version='"TLSv1.3" or "TLSv1.2".',
    cipher="The cipher suite, as OpenSSL names it.",
    alpn="The protocol chosen by ALPN (RFC 7301); None where none was offered.",
    peer_certificate="The client's verified certificate, as of `getpeercert`; None: it sent none.",
    server_name="The host that the client named (SNI), where a proxy tells it; else None.",
)


def read_session(session: ssl.SSLObject, own_certificate: bytes | None) -> TLSInfo:
    """Read the facts of an established session of our own; `own_certificate` is in DER."""
    cipher = session.cipher()
    return TLSInfo(
        session.version() or "",
        cipher[0] if cipher else "",
        session.selected_alpn_protocol(),
        session.getpeercert() or None,
        _server_pem=None if own_certificate is None else _own_pem(own_certificate),
        _client_pems=tuple(map(ssl.DER_cert_to_PEM_cert, _read_chain(session))),
    )


@functools.lru_cache(maxsize=64)
def _own_pem(certificate: bytes) -> str:
    """Return a certificate of the server's own: the same text for all sessions that show it."""
    return ssl.DER_cert_to_PEM_cert(certificate)


def _read_chain(session: ssl.SSLObject) -> list[bytes]:
    """Return the client's certificate, and those behind it that it has sent and was verified by.

    Each of them has signed the one before it. Before Python 3.13 the ssl module tells of the first
    one only, and so does a session that was resumed.
    """
    first = session.getpeercert(binary_form=True)
    if first is None:
        return []
    newer: Any = session
    if not hasattr(newer, "get_verified_chain"):
        return [first]
    sent = newer.get_unverified_chain()
    return [first, *(one for one in newer.get_verified_chain() if one in sent and one != first)]
