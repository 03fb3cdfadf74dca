"""Redirects: where they lead, and what goes along (RFC 9110, section 15.4)."""

import contextlib
from collections.abc import AsyncIterator

import pytest
from certificates import client_context, server_context
from raw_servers import RawPeer, answer, raw_server
from reference import CLOSE
from wire import case

import sockwave
from sockwave.client.redirects import REDIRECT_COUNT
from sockwave.client.uri import parse_uri, resolve


@contextlib.asynccontextmanager
async def redirecting(*locations: str) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Redirect to each of the locations in turn, then accept; give the URI, and the requests."""
    requests: list[bytes] = []

    async def serve(peer: RawPeer) -> None:
        if len(requests) < len(locations):
            requests.append(await peer.receive_head())
            location = locations[len(requests) - 1]
            peer.write(answer("302 Found", {"Location": location, "Content-Length": "0"}))
            return
        await peer.open()
        requests.append(peer.request)
        await peer.receive_close()
        peer.write_frame(CLOSE, b"\x03\xe8")

    async with raw_server(serve) as uri:
        yield uri, requests


def targets(requests: list[bytes]) -> list[bytes]:
    return [request.split(b" ")[1] for request in requests]


async def test_redirects_are_followed(engine: str) -> None:
    async with redirecting() as (end, requests):
        location = end.replace("ws://", "http://") + "end#part"
        async with (
            redirecting("/there?x=1", "further", location) as (uri, seen),
            sockwave.connect(uri, engine=engine),
        ):
            pass
    assert targets(seen) == [b"/", b"/there?x=1", b"/further"]
    assert targets(requests) == [b"/end"]


async def test_redirects_are_bounded(engine: str) -> None:
    async with redirecting(*["/again"] * REDIRECT_COUNT) as (uri, requests):
        async with sockwave.connect(uri, engine=engine):
            pass
        assert len(requests) == REDIRECT_COUNT + 1
    async with redirecting(*["/again"] * (REDIRECT_COUNT + 1)) as (uri, requests):
        with pytest.raises(sockwave.HandshakeError, match="expected at most 5 redirects"):
            await sockwave.connect(uri, engine=engine)
        assert len(requests) == REDIRECT_COUNT + 1


async def test_secrets_go_to_the_first_server_alone(engine: str) -> None:
    options = {
        "engine": engine,
        "headers": {"X-Token": "secret", "User-Agent": "mine"},
        "cookies": {"session": "secret"},
        "origin": "https://example.com",
        "subprotocol": "chat",
    }
    async with redirecting() as (other, seen):
        async with redirecting("/same", other) as (uri, requests):
            known = uri.replace("ws://", "ws://name:secret@")
            async with sockwave.connect(known, **options):  # type: ignore[arg-type]
                pass
        for request in requests:
            for line in (b"X-Token: secret", b"Cookie: session=secret", b"Authorization: Basic"):
                assert line in request
        assert b"secret" not in seen[0]
        for name in (b"X-Token", b"Cookie", b"Authorization", b"User-Agent: mine"):
            assert name not in seen[0]
        assert b"Origin: https://example.com\r\n" in seen[0]
        assert b"Sec-WebSocket-Protocol: chat\r\n" in seen[0]


async def test_reconnecting_begins_at_the_original_uri(engine: str) -> None:
    async with redirecting("/first", "/second") as (uri, requests):
        count = 0
        backoff = sockwave.Backoff(first=0, most=0)
        async for conn in sockwave.connect(uri, engine=engine, backoff=backoff):
            conn.close()
            count += 1
            if count == 2:
                break
        assert targets(requests) == [b"/", b"/first", b"/second", b"/"]


async def test_a_redirect_never_leaves_tls(engine: str) -> None:
    server = sockwave.create_server(engine=engine)

    @server.on("handshake")
    def handshake(handshake: sockwave.Handshake) -> None:
        raise sockwave.Refused(302, "", {"Location": "http://127.0.0.1/"})

    server.listen(0, "127.0.0.1", ssl=server_context())
    async with server:
        uri = f"wss://localhost:{server.addresses[0][1]}"
        with pytest.raises(sockwave.HandshakeError, match="Location: expected wss://"):
            await sockwave.connect(uri, engine=engine, ssl=client_context())


async def test_a_redirect_may_lead_to_tls(engine: str) -> None:
    server = sockwave.create_server(engine=engine)
    server.listen(0, "127.0.0.1", ssl=server_context())
    async with server:
        location = f"https://localhost:{server.addresses[0][1]}/"
        async with redirecting(location) as (uri, _):
            # The context of the tests is not the system's, and there is no option for a ws URI.
            with pytest.raises(OSError, match="certificate verify failed"):
                await sockwave.connect(uri, engine=engine)


@pytest.mark.parametrize(
    "location", ["ftp://example.com/", "https://:80/", "http://a b/", "data:x"]
)
async def test_a_redirect_to_no_websocket(engine: str, location: str) -> None:
    async with redirecting(location) as (uri, _):
        with pytest.raises(sockwave.HandshakeError, match="Location: expected a URI"):
            await sockwave.connect(uri, engine=engine)


async def test_where_the_caller_has_connected_no_redirect_is_followed(engine: str) -> None:
    import socket

    async with redirecting("/other") as (uri, requests):
        parsed = parse_uri(uri)
        sock = socket.create_connection((parsed.host, parsed.port))
        with pytest.raises(sockwave.HandshakeRefused) as caught:
            await sockwave.connect(uri, engine=engine, sock=sock)
        assert caught.value.status == 302
        assert len(requests) == 1


def test_locations_are_resolved() -> None:
    base = parse_uri("wss://user:pw@example.com:8443/a/b?c=d")
    for location, expected in {
        "/x": "wss://example.com:8443/x",
        "x?y": "wss://example.com:8443/a/x?y",
        "?z=1": "wss://example.com:8443/a/b?z=1",
        "//other": "wss://other/",
        "https://other:443/q": "wss://other/q",
        "wss://other": "wss://other/",
        "HTTP://Other/": "ws://other/",
        "ws://[::1]:9/": "ws://[::1]:9/",
    }.items():
        with case(location):
            found = resolve(location, base)
            assert str(found) == expected
            assert found.authorization is None
