"""What was negotiated in one TLS session: RFC 8446, and RFC 5246 for TLS 1.2."""

import ssl
from dataclasses import dataclass
from typing import Any


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


def read_session(session: ssl.SSLObject) -> TLSInfo:
    """Read the facts of an established session of our own."""
    cipher = session.cipher()
    return TLSInfo(
        session.version() or "",
        cipher[0] if cipher else "",
        session.selected_alpn_protocol(),
        session.getpeercert() or None,
    )
