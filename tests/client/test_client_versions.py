"""A client that speaks the drafts: hybi-07 and -08, and those of 2010."""

import asyncio
import contextlib
from typing import Any

import pytest
import reference
from conftest import StartServer, echo
from raw_servers import RawPeer, answer, raw_server
from wire import case, wait_until

import sockwave
from sockwave.client.drafts import write_key
from sockwave.handshake.hixie76 import read_number
from sockwave.versions import VERSIONS

DRAFTS = ("draft75", "draft76")


@pytest.mark.parametrize("version", VERSIONS)
async def test_messages_go_both_ways(start_server: StartServer, engine: str, version: str) -> None:
    server = await start_server(subprotocol=["b"])
    echo(server)
    seen: list[sockwave.Connection] = []
    server.on("connection", seen.append)
    uri = "ws://{}:{}/path?q".format(*server.addresses[0])
    connector = sockwave.connect(
        uri,
        engine=engine,
        version=version,
        origin="http://example.com",
        subprotocol=["a", "b"],
        headers={"X-Own": "here"},
        cookies={"c": "d"},
    )
    async with connector as conn:
        assert conn.version == version
        assert conn.subprotocol == "b"
        await wait_until(lambda: seen)
        assert seen[0].version == version
        request = seen[0].request
        assert request.origin == "http://example.com"
        assert (request.headers["x-own"], request.cookies) == ("here", {"c": "d"})
        for message in ("hi", "ü" * 100, "x" * 100_000, ""):
            conn.send(message)
            assert await conn.receive() == message
        async with conn.stream_message("text") as out:
            await out.write("in ")
            await out.write("pieces")
        assert await conn.receive() == "in pieces"
        if version in DRAFTS:
            with pytest.raises(TypeError, match="text messages only"):
                conn.send(b"bytes")
            with pytest.raises(TypeError, match="has no ping"):
                conn.ping()
        else:
            conn.send(b"bytes")
            assert await conn.receive() == b"bytes"
            assert await conn.ping() > 0
    assert conn.close_code == (1005 if version in DRAFTS else 1000)


@pytest.mark.parametrize("version", VERSIONS)
async def test_server_closes(start_server: StartServer, engine: str, version: str) -> None:
    server = await start_server()

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        conn.send("bye")
        conn.close(1001)

    uri = "ws://{}:{}".format(*server.addresses[0])
    async with sockwave.connect(uri, engine=engine, version=version) as conn:
        assert [message async for message in conn] == ["bye"]
    assert conn.close_code == (1005 if version in DRAFTS else 1001)


@pytest.mark.parametrize("version", DRAFTS)
async def test_draft_has_an_origin_always(
    start_server: StartServer, engine: str, version: str
) -> None:
    server = await start_server(origin="same-origin")
    host = "{}:{}".format(*server.addresses[0])
    async with sockwave.connect(f"ws://{host}", engine=engine, version=version) as conn:
        assert conn.request.headers["origin"] == f"http://{host}"


async def test_many_messages_behind_the_signature(start_server: StartServer, engine: str) -> None:
    server = await start_server()

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        for number in range(1000):
            conn.send(str(number))

    uri = "ws://{}:{}".format(*server.addresses[0])
    async with sockwave.connect(uri, engine=engine, version="draft76") as conn:
        assert [await conn.receive() for _ in range(1000)] == [*map(str, range(1000))]


async def serve_76(peer: RawPeer, change: Any) -> None:
    """Answer a client of draft 76, with some fields and the signature changed."""
    await peer.receive_head()
    key3 = await peer.reader.readexactly(8)
    host = peer.header("Host")
    fields = {
        "Upgrade": "WebSocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Origin": peer.header("Origin") or "",
        "Sec-WebSocket-Location": f"ws://{host}/",
    }
    key1, key2 = peer.header("Sec-WebSocket-Key1"), peer.header("Sec-WebSocket-Key2")
    signature = reference.answer_76(key1 or "", key2 or "", key3)
    fields, signature = change(fields, signature)
    raw = answer("101 WebSocket Protocol Handshake", fields, signature) + b"\x00hi\xff"
    with contextlib.suppress(ConnectionError):  # a client that has seen enough resets
        for byte in raw:
            peer.write(bytes([byte]))
            await asyncio.sleep(0)
        if signature:
            await peer.receive_end()


WRONG_76 = {
    "signature": (lambda f, s: (f, bytes(16)), "signature: expected"),
    "no signature": (lambda f, s: (f, b""), "given the end of the stream"),
    "Upgrade": (lambda f, s: (f | {"Upgrade": "websocket"}, s), "Upgrade: expected WebSocket"),
    "Location": (
        lambda f, s: (f | {"Sec-WebSocket-Location": "ws://other/"}, s),
        "Sec-WebSocket-Location: expected ws://127",
    ),
    "Origin": (
        lambda f, s: (f | {"Sec-WebSocket-Origin": "http://other"}, s),
        "Sec-WebSocket-Origin: expected",
    ),
    "Protocol": (
        lambda f, s: (f | {"Sec-WebSocket-Protocol": "other"}, s),
        "Sec-WebSocket-Protocol: expected one of those offered",
    ),
}


async def test_wrong_answers_of_draft_76(engine: str) -> None:
    for name, (change, sentence) in WRONG_76.items():

        async def serve(peer: RawPeer, change: Any = change) -> None:
            await serve_76(peer, change)

        with case(name):
            async with raw_server(serve) as uri:
                with pytest.raises((sockwave.HandshakeError, TimeoutError), match=sentence):
                    await sockwave.connect(uri, engine=engine, version="draft76", open_timeout=5)


async def test_right_answer_of_draft_76_byte_by_byte(engine: str) -> None:
    async def serve(peer: RawPeer) -> None:
        await serve_76(peer, lambda fields, signature: (fields, signature))

    async with raw_server(serve) as uri:
        conn = await sockwave.connect(uri, engine=engine, version="draft76", close_timeout=0.05)
        assert await conn.receive() == "hi"
        conn.abort()


def test_keys_hide_their_numbers_as_the_draft_says() -> None:
    for _ in range(500):
        key, number = write_key()
        with case(key):
            assert read_number(key) == number
            assert key.strip() == key
            assert 1 <= key.count(" ") <= 12
            noise = [one for one in key if not one.isdigit() and one != " "]
            assert 1 <= len(noise) <= 12
            assert all("!" <= one <= "~" for one in noise)


def test_option_is_checked() -> None:
    for version, kind, sentence in (
        ("auto", ValueError, "version: expected one version, given 'auto'"),
        ("hybi-99", ValueError, "version: expected"),
        (13, TypeError, "version: expected str, given int"),
    ):
        with case(version), pytest.raises(kind, match=sentence):
            sockwave.connect("ws://a", version=version)
    with pytest.raises(ValueError, match="compression: expected None with version 'draft76'"):
        sockwave.connect("ws://a", version="hybi-00", compression=True)
