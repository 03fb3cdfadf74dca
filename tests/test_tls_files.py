"""Certificates and contexts that cannot work: said where they were given, and which file it is."""

import datetime
import ssl
from pathlib import Path
from typing import Any

import pytest
from certificates import LOCALHOST, issue, server_context, write_pem
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import sockwave

PEM = serialization.Encoding.PEM
VERSIONS = [
    {},
    {"maximum_version": ssl.TLSVersion.TLSv1_2},
    {"minimum_version": ssl.TLSVersion.TLSv1_3},
]


def make_context(settings: dict[str, Any]) -> ssl.SSLContext:
    """Make a context without a certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    for name, value in settings.items():
        setattr(context, name, value)
    return context


def start(server: sockwave.Server) -> None:
    """Run a server until it listens."""
    server.on("listening", server.close)
    server.run()


@pytest.mark.parametrize("settings", VERSIONS)
def test_a_context_without_a_certificate_is_refused_at_the_start(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    server = sockwave.create_server()
    server.listen(0, "127.0.0.1", ssl=make_context(settings))
    with pytest.raises(sockwave.SockwaveError, match="expected a context with a certificate"):
        start(server)
    server.reload_tls(*write_pem(LOCALHOST, tmp_path, "pair"))
    start(server)


async def test_a_context_without_a_certificate_is_refused_while_the_server_runs(
    engine: str,
) -> None:
    server = sockwave.create_server(engine=engine).listen(0, "127.0.0.1")
    async with server:
        with pytest.raises(sockwave.SockwaveError, match="expected a context with a certificate"):
            server.listen(0, "127.0.0.1", ssl=make_context({}))


def write_rare(curve: ec.EllipticCurve, path: Path) -> str:
    """Write a certificate that signs itself, with a key on some curve."""
    key = ec.generate_private_key(curve)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    own = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(certificate.public_bytes(PEM) + own)
    return str(path)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP256K1(), ec.BrainpoolP384R1()])
def test_every_kind_of_certificate_is_one(curve: ec.EllipticCurve, tmp_path: Path) -> None:
    context = make_context({})
    if not isinstance(curve, ec.SECP256R1):
        context.set_ecdh_curve(curve.name)  # else no client could have it
    context.load_cert_chain(write_rare(curve, tmp_path / "both.pem"))
    start(sockwave.create_server().listen(0, "127.0.0.1", ssl=context))


@pytest.mark.parametrize("how", ["callback", "psk"])
def test_a_context_that_needs_no_certificate_is_taken(how: str) -> None:
    context = make_context({})
    if how == "callback":
        context.sni_callback = lambda session, *_: setattr(session, "context", server_context())
    else:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("PSK")
    start(sockwave.create_server().listen(0, "127.0.0.1", ssl=context))


def reload(*files: Any) -> None:
    server = sockwave.create_server().listen(0, "127.0.0.1", ssl=make_context({}))
    try:
        server.reload_tls(*files)
    finally:
        server.close()


def test_a_file_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    cert, key = write_pem(LOCALHOST, tmp_path, "pair")
    other = write_pem(issue("other.example"), tmp_path, "other")[1]
    wrong = str(tmp_path / "wrong.pem")
    Path(wrong).write_text("no certificate at all")
    for files, told in (
        ((wrong, key), f"cert: expected certificates in PEM, given {wrong!r}"),
        ((key,), f"cert: expected certificates in PEM, given {key!r}"),
        ((cert, wrong), f"key: expected a private key in PEM, and its password, given {wrong!r}"),
        ((cert,), f"key: expected a private key in PEM, and its password, given {cert!r}"),
        ((cert, other), f"key: expected that of the certificate in {cert!r}, given {other!r}"),
    ):
        with pytest.raises(ssl.SSLError) as raised:
            reload(*files)
        assert str(raised.value).startswith(told)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    cert, key = write_pem(LOCALHOST, tmp_path, "pair")
    missing = str(tmp_path / "missing.pem")
    for files, kind, name in (
        ((missing, key), FileNotFoundError, missing),
        ((cert, missing), FileNotFoundError, missing),
        ((tmp_path, key), IsADirectoryError, str(tmp_path)),
    ):
        with pytest.raises(kind) as raised:
            reload(*files)
        assert str(raised.value.filename) == name
        assert name in str(raised.value)
