"""Real clients talk to the server: `websockets` and `aiohttp`."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

import aiohttp
import pytest
from conftest import StartServer, echo
from together import together
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from wire import wait_until

import sockwave


class Peer(Protocol):
    """What the tests ask of a client, whichever it is."""

    async def send(self, message: str | bytes) -> None: ...
    async def receive(self) -> str | bytes: ...
    async def ping(self, data: bytes) -> None: ...
    async def close(self, code: int, reason: str) -> None: ...
    async def receive_close(self) -> tuple[int, str]: ...
    @property
    def subprotocol(self) -> str | None: ...
    @property
    def extensions(self) -> str: ...


class WebsocketsPeer:
    """A client of the `websockets` library."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.subprotocol = connection.subprotocol
        assert connection.response is not None
        self.extensions = connection.response.headers.get("Sec-WebSocket-Extensions", "")

    async def send(self, message: str | bytes) -> None:
        await self.connection.send(message)

    async def receive(self) -> str | bytes:
        return await self.connection.recv()

    async def ping(self, data: bytes) -> None:
        await (await self.connection.ping(data))

    async def close(self, code: int, reason: str) -> None:
        await self.connection.close(code, reason)

    async def receive_close(self) -> tuple[int, str]:
        with pytest.raises(ConnectionClosed):
            await self.connection.recv()
        assert self.connection.close_code is not None
        return self.connection.close_code, self.connection.close_reason or ""


class AiohttpPeer:
    """A client of the `aiohttp` library."""

    def __init__(self, connection: "aiohttp.ClientWebSocketResponse[Any]") -> None:
        self.connection = connection
        self.subprotocol = connection.protocol
        self.extensions = connection._response.headers.get("Sec-WebSocket-Extensions", "")

    async def send(self, message: str | bytes) -> None:
        if isinstance(message, str):
            await self.connection.send_str(message)
        else:
            await self.connection.send_bytes(message)

    async def receive(self) -> str | bytes:
        message = await self.connection.receive()
        assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY), message
        data: str | bytes = message.data
        return data

    async def ping(self, data: bytes) -> None:
        await self.connection.ping(data)
        message = await self.connection.receive()
        assert message.type is aiohttp.WSMsgType.PONG
        assert message.data == data

    async def close(self, code: int, reason: str) -> None:
        await self.connection.close(code=code, message=reason.encode())

    async def receive_close(self) -> tuple[int, str]:
        message = await self.connection.receive()
        assert message.type is aiohttp.WSMsgType.CLOSE, message
        return message.data, message.extra or ""


@asynccontextmanager
async def connect_websockets(uri: str, subprotocols: list[str]) -> AsyncIterator[Peer]:
    """Connect with `websockets`, which offers permessage-deflate by default."""
    offered: Any = subprotocols or None
    async with connect(uri, subprotocols=offered, max_size=None, proxy=None) as connection:
        yield WebsocketsPeer(connection)


@asynccontextmanager
async def connect_aiohttp(uri: str, subprotocols: list[str]) -> AsyncIterator[Peer]:
    """Connect with `aiohttp`, offering permessage-deflate."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(
            uri, protocols=subprotocols, max_msg_size=0, autoping=False, compress=15
        ) as connection,
    ):
        yield AiohttpPeer(connection)


Connect = Callable[..., Any]
PEERS = pytest.mark.parametrize(
    "connect_peer", [connect_websockets, connect_aiohttp], ids=["websockets", "aiohttp"]
)


def uri_of(server: sockwave.Server) -> str:
    """Give the server's WebSocket URI."""
    host, port = server.addresses[0]
    return f"ws://{host}:{port}/path?query=1"


@PEERS
@pytest.mark.parametrize(
    "message",
    ["", "Hello", "κόσμε 🌊", b"", b"\x00\xff", "x" * 126, b"y" * 65_536, "é" * 500_000],
    ids=lambda message: f"{type(message).__name__} of {len(message)}",
)
async def test_client_gets_its_messages_back(
    echo_server: sockwave.Server, connect_peer: Connect, message: str | bytes
) -> None:
    async with connect_peer(uri_of(echo_server), []) as peer:
        await peer.send(message)
        assert await peer.receive() == message


@pytest.mark.slow
@together
@PEERS
@pytest.mark.parametrize("history_size", [0, 1024, 32768])
@pytest.mark.parametrize("bits", [9, 12, 15])
async def test_compressed_messages_go_both_ways(
    start_server: StartServer, connect_peer: Connect, bits: int, history_size: int
) -> None:
    server = await start_server(
        compression=sockwave.Deflate(
            server_max_window_bits=bits,
            client_max_window_bits=bits,
            server_context_takeover=history_size > 0,
            server_history_size=history_size or 1,
            client_context_takeover=history_size > 0,
            threshold=0,
        )
    )
    echo(server)
    async with connect_peer(uri_of(server), []) as peer:
        assert "permessage-deflate" in peer.extensions
        rows = [{"id": i, "name": "κόσμε", "price": i / 7} for i in range(3000)]
        for message in ("", "Hello", json.dumps(rows), b"", os.urandom(70_000), "é" * 500_000) * 2:
            await peer.send(message)
            assert await peer.receive() == message


@PEERS
async def test_many_messages_keep_their_order(
    echo_server: sockwave.Server, connect_peer: Connect
) -> None:
    async with connect_peer(uri_of(echo_server), []) as peer:
        messages = [f"message {i} " + "x" * (i * 37 % 2000) for i in range(500)]

        async def send_all() -> None:
            for message in messages:
                await peer.send(message)

        sending = asyncio.create_task(send_all())
        assert [await peer.receive() for _ in messages] == messages
        await sending


@PEERS
async def test_client_pings_are_answered(
    echo_server: sockwave.Server, connect_peer: Connect
) -> None:
    async with connect_peer(uri_of(echo_server), []) as peer:
        await peer.ping(b"to and fro")


@PEERS
async def test_subprotocol_is_agreed_upon(start_server: StartServer, connect_peer: Connect) -> None:
    server = await start_server(subprotocol=["chat.v2", "chat.v1"])
    chosen: list[str | None] = []
    server.on("connection", lambda conn: chosen.append(conn.subprotocol))
    async with connect_peer(uri_of(server), ["chat.v1", "chat.v2", "other"]) as peer:
        assert peer.subprotocol == "chat.v2"
    async with connect_peer(uri_of(server), ["unknown"]) as peer:
        assert peer.subprotocol is None
    assert chosen == ["chat.v2", None]


@PEERS
async def test_request_of_the_client_can_be_read(
    start_server: StartServer, connect_peer: Connect
) -> None:
    server = await start_server()
    connections: list[sockwave.Connection] = []
    server.on("connection", connections.append)
    async with connect_peer(uri_of(server), []):
        await wait_until(lambda: connections)
        request = connections[0].request
        assert request.path == "/path"
        assert request.query == "query=1"
        assert request.params["query"] == "1"
        assert request.headers["Upgrade"].lower() == "websocket"
        assert connections[0].version == "rfc6455"
        assert connections[0].carrier == "http/1.1"


@PEERS
async def test_client_closes_with_a_code_and_a_reason(
    start_server: StartServer, connect_peer: Connect
) -> None:
    server = await start_server()
    ends: list[tuple[int, str]] = []

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        conn.on("close", lambda code, reason: ends.append((code, reason)))

    async with connect_peer(uri_of(server), []) as peer:
        await peer.close(3003, "had enough")
    await wait_until(lambda: ends)
    assert ends == [(3003, "had enough")]


@PEERS
async def test_server_closes_with_a_code_and_a_reason(
    start_server: StartServer, connect_peer: Connect
) -> None:
    server = await start_server()
    server.on("connection", lambda conn: conn.close(4001, "go away"))
    async with connect_peer(uri_of(server), []) as peer:
        assert await peer.receive_close() == (4001, "go away")


@PEERS
async def test_server_that_closes_says_going_away(
    start_server: StartServer, connect_peer: Connect
) -> None:
    server = await start_server()
    async with connect_peer(uri_of(server), []) as peer:
        closing = asyncio.ensure_future(server.close())
        assert (await peer.receive_close())[0] == 1001
        await peer.close(1001, "")
        await closing


@PEERS
async def test_server_pings_are_answered_by_the_client(
    start_server: StartServer, connect_peer: Connect
) -> None:
    server = await start_server()
    connections: list[sockwave.Connection] = []
    server.on("connection", connections.append)
    if connect_peer is connect_aiohttp:  # its reader must run, and answers only by itself
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(uri_of(server)) as connection,
        ):
            reading = asyncio.ensure_future(connection.receive())
            await wait_until(lambda: connections)
            assert await connections[0].ping(b"server's") >= 0
            reading.cancel()
        return
    async with connect_peer(uri_of(server), []):
        await wait_until(lambda: connections)
        assert await connections[0].ping(b"server's") >= 0


async def test_fragmented_message_of_a_client_arrives_whole(
    echo_server: sockwave.Server,
) -> None:
    async with connect(uri_of(echo_server), proxy=None) as peer:
        await peer.send(["in ", "", "three ", "pieces"])
        assert await peer.recv() == "in three pieces"
        await peer.send([b"\x00", b"\xff"])
        assert await peer.recv() == b"\x00\xff"


async def test_broadcast_reaches_every_kind_of_client(start_server: StartServer) -> None:
    server = await start_server()
    async with (
        connect_websockets(uri_of(server), []) as one,
        connect_aiohttp(uri_of(server), []) as two,
    ):
        await wait_until(lambda: len(server.connections) == 2)
        assert server.broadcast("to all") == 2
        assert await one.receive() == "to all"
        assert await two.receive() == "to all"


async def test_stranger_is_told_403_by_its_client(start_server: StartServer) -> None:
    server = await start_server(origin="https://example.com")
    with pytest.raises(InvalidStatus) as refused:
        async with connect(uri_of(server), origin="https://evil.example", proxy=None):  # type: ignore[arg-type]
            pass
    assert refused.value.response.status_code == 403
    async with connect(uri_of(server), origin="https://example.com", proxy=None):  # type: ignore[arg-type]
        await wait_until(lambda: len(server.connections) == 1)


async def test_plain_http_is_served_beside(start_server: StartServer) -> None:
    server = await start_server()
    echo(server)

    @server.on("request")
    def request(req: Any, res: Any) -> None:
        res.write_head(200, {"Content-Type": "text/plain"})
        res.end(f"You asked for {req.target}")

    host, port = server.addresses[0]
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(uri_of(server)) as websocket,
    ):
        async with session.get(f"http://{host}:{port}/page") as response:
            assert response.status == 200
            assert await response.text() == "You asked for /page"
        await websocket.send_str("meanwhile")
        assert await websocket.receive_str() == "meanwhile"


@PEERS
async def test_async_for_serves_a_client(start_server: StartServer, connect_peer: Connect) -> None:
    finished: list[int] = []

    async def chat(conn: sockwave.Connection) -> None:
        async for message in conn:
            await conn.send(message)
        finished.append(conn.close_code or 0)

    server = await start_server()
    server.on("connection", chat)
    async with connect_peer(uri_of(server), []) as peer:
        for i in range(50):
            await peer.send(f"{i}")
            assert await peer.receive() == f"{i}"
        await peer.close(1000, "")
    await wait_until(lambda: finished)
    assert finished == [1000]
