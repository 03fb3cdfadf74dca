"""What is wrong with certificates, before a client finds out."""

import contextlib
import os
import ssl
from collections.abc import Iterator
from typing import TypeAlias

File: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]

# How OpenSSL says that a server has nothing to show to a client that takes everything.
_NOTHING_TO_SHOW = {
    "NO_SHARED_CIPHER",
    "NO_SUITABLE_SIGNATURE_ALGORITHM",
    "UNSUPPORTED_PROTOCOL",  # TLS 1.3 alone
}

# The curves of certificates that clients do not offer unless they are told to.
_RARE_CURVES = (None, "secp256k1", "brainpoolP256r1", "brainpoolP384r1", "brainpoolP512r1")

# What a server can show in place of a certificate.
_WITHOUT_CERTIFICATE = {"auth-psk", "auth-null", "auth-srp"}


def has_certificate(context: ssl.SSLContext) -> bool:
    """Tell whether a server can show a certificate; True where that cannot be known.

    The ssl module has no question for it: so a client in memory says hello, which takes everything.
    """
    if context.sni_callback is not None:  # it may choose another context
        return True
    if any(one.get("auth") in _WITHOUT_CERTIFICATE for one in context.get_ciphers()):
        return True
    return any(_answers_hello(context, curve) for curve in _RARE_CURVES)


def _answers_hello(context: ssl.SSLContext, curve: str | None) -> bool:
    """Tell whether a server answers the hello of a client with a curve, None: the usual ones."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    client.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    client.set_ciphers("ALL:@SECLEVEL=0")
    if curve is not None:
        client.maximum_version = ssl.TLSVersion.TLSv1_2  # later ones do not have them
        try:
            client.set_ecdh_curve(curve)
        except (ValueError, ssl.SSLError):
            return False  # the library does not know it: no server has such a certificate
    hello, nothing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        client.wrap_bio(nothing, hello).do_handshake()
    try:
        context.wrap_bio(hello, ssl.MemoryBIO(), server_side=True).do_handshake()
    except ssl.SSLError as error:
        return error.reason not in _NOTHING_TO_SHOW
    return True


@contextlib.contextmanager
def naming_files(cert: File, key: File | None) -> Iterator[None]:
    """Put the file that is wrong, and what was expected of it, into the message of an OSError."""
    try:
        yield
    except ssl.SSLError as error:
        told = f"{_find_fault(cert, key, error)}: {error.strerror}"
        made = ssl.SSLError(error.errno, told)
        made.reason, made.library = error.reason, error.library
        raise made from None
    except OSError as error:
        for file in (cert, key):
            if file is not None:
                open(file, "rb").close()  # raises the same, with the name
        raise error from None


def _find_fault(cert: File, key: File | None, error: ssl.SSLError) -> str:
    """Say which of the files is wrong, and what was expected of it."""
    cert_name = os.fsdecode(cert)
    if not _holds_certificates(cert):
        return f"cert: expected certificates in PEM, given {cert_name!r}"
    key_name = cert_name if key is None else os.fsdecode(key)
    if error.reason in ("KEY_VALUES_MISMATCH", "NO_CERTIFICATE_ASSIGNED"):
        return f"key: expected that of the certificate in {cert_name!r}, given {key_name!r}"
    return f"key: expected a private key in PEM, and its password, given {key_name!r}"


def _holds_certificates(file: File) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(file)
    except OSError:
        return False
    return True
