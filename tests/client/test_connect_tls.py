"""A client that speaks TLS: names are checked, and what goes wrong is told."""

import asyncio
import socket
import ssl
from typing import Any

import pytest
import trustme
from certificates import client_context, issue, server_context
from conftest import echo
from wire import wait_until

import sockwave


@pytest.fixture(params=["direct", "portable"])
def tls(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How OpenSSL is called, at both ends."""
    monkeypatch.setenv("SOCKWAVE_TLS", request.param)
    return str(request.param)


def serving(engine: str, context: ssl.SSLContext | None = None) -> sockwave.Server:
    server = sockwave.create_server(engine=engine)
    echo(server)
    return server.listen(0, "127.0.0.1", ssl=context or server_context())


def uri_of(server: sockwave.Server, host: str = "localhost") -> str:
    return f"wss://{host}:{server.addresses[0][1]}/"


async def test_messages_go_both_ways(engine: str, tls: str) -> None:
    async with serving(engine) as server:
        connector = sockwave.connect(uri_of(server), engine=engine, ssl=client_context())
        async with connector as conn:
            for message in ("hello", "x" * 300_000, b"y" * 4_000_000):
                if len(message) > 2**20:
                    continue
                conn.send(message)
                assert await conn.receive() == message
            assert conn.is_secure
            assert conn.tls is not None
            assert conn.tls.version == "TLSv1.3"
            certificate = conn.tls.peer_certificate
            assert certificate is not None
            assert ("DNS", "localhost") in certificate["subjectAltName"]
        assert conn.close_code == 1000


async def test_tls_1_2(engine: str, tls: str) -> None:
    context = client_context(newest=ssl.TLSVersion.TLSv1_2)
    async with (
        serving(engine) as server,
        sockwave.connect(uri_of(server), engine=engine, ssl=context) as conn,
    ):
        conn.send("older")
        assert await conn.receive() == "older"
        assert conn.tls is not None
        assert conn.tls.version == "TLSv1.2"


async def test_authority_that_is_not_trusted(engine: str, tls: str) -> None:
    # The default context has the authorities of the system, and not that of the tests.
    async with serving(engine) as server:
        with pytest.raises(ssl.SSLCertVerificationError):
            await sockwave.connect(uri_of(server), engine=engine)


async def test_name_that_is_not_the_certificates(engine: str, tls: str) -> None:
    async with serving(engine, server_context(issue("example.org"))) as server:
        context = client_context()
        with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
            await sockwave.connect(uri_of(server), engine=engine, ssl=context)
        connector = sockwave.connect(
            uri_of(server), engine=engine, ssl=context, server_hostname="example.org"
        )
        async with connector as conn:
            conn.send("found")
            assert await conn.receive() == "found"


async def test_server_is_told_the_name(engine: str, tls: str) -> None:
    names: list[str | None] = []
    context = server_context()
    context.sni_callback = lambda _session, name, _context: names.append(name)
    async with (
        serving(engine, context) as server,
        sockwave.connect(uri_of(server), engine=engine, ssl=client_context()),
    ):
        pass
    assert names == ["localhost"]


async def test_client_shows_its_certificate(engine: str, tls: str) -> None:
    authority = trustme.CA()
    theirs = server_context()
    theirs.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(theirs)
    ours = client_context()
    authority.issue_cert("somebody@example.com").configure_cert(ours)
    async with serving(engine, theirs) as server:
        seen: list[Any] = []
        server.on("connection", lambda conn: seen.append(conn.tls))
        async with sockwave.connect(uri_of(server), engine=engine, ssl=ours):
            await wait_until(lambda: seen)
        assert ("email", "somebody@example.com") in seen[0].peer_certificate["subjectAltName"]


async def test_server_without_tls(engine: str, tls: str) -> None:
    server = sockwave.create_server(engine=engine)
    server.listen(0, "127.0.0.1")
    async with server:
        with pytest.raises(ssl.SSLError):
            await sockwave.connect(uri_of(server), engine=engine, ssl=client_context())


async def test_server_that_hangs_up_amid_the_handshake(engine: str, tls: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        uri = f"wss://localhost:{listener.getsockname()[1]}"

        async def connect() -> sockwave.Connection:
            return await sockwave.connect(uri, engine=engine, ssl=client_context())

        opening = asyncio.ensure_future(connect())
        accepted, _ = await asyncio.get_running_loop().sock_accept(listener)
        accepted.close()
        with pytest.raises((sockwave.HandshakeError, ConnectionError)):
            await opening


async def test_time_of_the_handshake_counts(engine: str, tls: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        uri = f"wss://localhost:{listener.getsockname()[1]}"
        with pytest.raises(TimeoutError, match="open_timeout"):
            await sockwave.connect(uri, engine=engine, ssl=client_context(), open_timeout=0.1)


async def test_context_is_checked_before_anything_is_sent(engine: str, tls: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    async with serving(engine) as server:
        with pytest.raises(ssl.SSLError):
            await sockwave.connect(uri_of(server), engine=engine, ssl=context)
        assert not server.connections
