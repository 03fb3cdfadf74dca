"""Certificates made for one run of the tests, and the contexts of both sides."""

import ssl
from pathlib import Path

import trustme

AUTHORITY = trustme.CA()


def issue(*names: str) -> trustme.LeafCert:
    """Make a certificate and its key for some names."""
    return AUTHORITY.issue_cert(*names)


LOCALHOST = issue("localhost", "127.0.0.1")


def server_context(certificate: trustme.LeafCert = LOCALHOST) -> ssl.SSLContext:
    """Make a context as an application would."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    return context


def client_context(*, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    """Make a context that trusts the tests' authority, and no other: to read those that the
    system trusts takes as long as twenty handshakes."""
    context = ssl.create_default_context(cadata=AUTHORITY.cert_pem.bytes().decode())
    context.maximum_version = newest
    return context


def write_pem(certificate: trustme.LeafCert, directory: Path, name: str) -> tuple[str, str]:
    """Write a certificate and its key to files, and give their paths."""
    cert, key = directory / f"{name}.pem", directory / f"{name}.key"
    cert.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    key.write_bytes(certificate.private_key_pem.bytes())
    return str(cert), str(key)


def common_name(der: bytes | None) -> list[str]:
    """Give the names in a certificate, as the client has got it."""
    from cryptography import x509

    assert der is not None
    names = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    return names.value.get_values_for_type(x509.DNSName)
