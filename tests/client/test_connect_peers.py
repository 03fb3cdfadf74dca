"""Servers of others: `websockets` and `aiohttp`."""

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus

import pytest
from aiohttp import WSMsgType, web
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

import sockwave

Serving = Callable[[], AbstractAsyncContextManager[str]]


@contextlib.asynccontextmanager
async def websockets_server() -> AsyncIterator[str]:
    """Echo by `websockets`, which refuses /refused."""

    async def handle(conn: ServerConnection) -> None:
        async for message in conn:
            if message == "close":
                await conn.close(4001, "as you wish")
            await conn.send(message)

    def select(conn: ServerConnection, offered: Sequence[str]) -> str | None:
        return "b" if "b" in offered else None  # its own choice refuses clients that offer none

    def decide(conn: ServerConnection, request: Request) -> Response | None:
        if request.path == "/refused":
            return conn.respond(HTTPStatus.FORBIDDEN, "not here\n")
        return None

    async with serve(
        handle,
        "127.0.0.1",
        0,
        subprotocols=["b"],
        select_subprotocol=select,
        process_request=decide,  # type: ignore[list-item]
    ) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@contextlib.asynccontextmanager
async def aiohttp_server() -> AsyncIterator[str]:
    """Echo by `aiohttp`, which refuses /refused."""

    async def handle(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=("b",))
        await socket.prepare(request)
        async for message in socket:
            if message.data == "close":
                await socket.close(code=4001, message=b"as you wish")
            elif message.type is WSMsgType.TEXT:
                await socket.send_str(message.data)
            else:
                await socket.send_bytes(message.data)
        return socket

    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=403, text="not here\n")

    app = web.Application()
    app.add_routes([web.get("/", handle), web.get("/refused", refuse)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"ws://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.fixture(params=[websockets_server, aiohttp_server], ids=["websockets", "aiohttp"])
async def peer(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """The URI of a server of others."""
    async with request.param() as uri:
        yield uri


@pytest.mark.parametrize(
    "compression", [None, sockwave.Deflate(), sockwave.Deflate(server_context_takeover=True)]
)
async def test_echo(engine: str, peer: str, compression: sockwave.Deflate | None) -> None:
    connector = sockwave.connect(
        peer, engine=engine, subprotocol=["a", "b"], compression=compression
    )
    async with connector as conn:
        assert conn.subprotocol == "b"
        assert ("sec-websocket-extensions" in conn.response_headers) == (compression is not None)
        for message in ("hi", "", "x" * 126, "tell me more " * 8000, b"\0" * 5000, "again " * 400):
            conn.send(message)
            assert await conn.receive() == message
        assert await conn.ping() > 0
    assert conn.close_code == 1000


async def test_streamed_message_is_one_message(engine: str, peer: str) -> None:
    async with sockwave.connect(peer, engine=engine) as conn:
        async with conn.stream_message("text") as out:
            for number in range(50):
                await out.write(f"{number} ")
        assert await conn.receive() == "".join(f"{number} " for number in range(50))


async def test_server_closes(engine: str, peer: str) -> None:
    async with sockwave.connect(peer, engine=engine) as conn:
        conn.send("close")
        with pytest.raises(sockwave.ConnectionClosed):
            await conn.receive()
    assert (conn.close_code, conn.close_reason) == (4001, "as you wish")


async def test_server_refuses(engine: str, peer: str) -> None:
    with pytest.raises(sockwave.HandshakeRefused) as caught:
        await sockwave.connect(f"{peer}/refused", engine=engine)
    assert caught.value.status == 403
    assert caught.value.body == b"not here\n"
