import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from certificates import LOCALHOST, client_context, server_context
from websockets.asyncio.client import connect

import sockwave
from sockwave import testing


async def echo(conn: sockwave.Connection) -> None:
    async for message in conn:
        await conn.send(message)


async def test_server_has_a_free_port_and_ends_with_the_block(engine: str) -> None:
    async with testing.serve(echo, engine=engine) as url:
        assert url.startswith("ws://127.0.0.1:")
        async with connect(url) as client:
            await client.send("hello")
            assert await client.recv() == "hello"
            kept = await sockwave.connect(url)
    await kept.wait_closed()
    assert kept.close_code == 1001
    with pytest.raises(OSError, match="refused"):
        await sockwave.connect(url)


async def test_server_of_ones_own_is_served(engine: str) -> None:
    server = sockwave.create_server(engine=engine)

    @server.get("/")
    def answer(request: sockwave.Request) -> str:
        return "hello\n"

    async with testing.serve(server) as url, httpx.AsyncClient() as client:
        assert (await client.get(url.replace("ws", "http"))).text == "hello\n"
        large = await client.post(url.replace("ws", "http"), content=bytes(1_000_000))
        assert large.status_code == 405
    assert server.is_closing


async def test_both_ends_of_a_pair_over_real_sockets(engine: str) -> None:
    server = sockwave.create_server(engine=engine)
    server.handle_with(echo)
    async with testing.pair(server, path="/chat", engine=engine) as (server_conn, client_conn):
        await client_conn.send("x" * 1_000_000)
        assert await client_conn.receive() == "x" * 1_000_000
        assert server_conn.request.path == "/chat"
        await server_conn.close(4001)
        await client_conn.wait_closed()
        assert client_conn.close_code == 4001


async def test_server_with_tls_is_served_by_wss() -> None:
    server = sockwave.create_server()
    server.handle_with(echo)
    server.listen(0, "127.0.0.1", ssl=server_context(LOCALHOST))
    async with testing.serve(server) as url:
        assert url.startswith("wss://")
        async with sockwave.connect(url, ssl=client_context()) as conn:
            await conn.send("hello")
            assert await conn.receive() == "hello"


async def test_what_is_no_target_is_refused() -> None:
    with pytest.raises(TypeError, match=r"target: expected a sockwave\.Server or a handler"):
        async with testing.serve("main:app"):  # type: ignore[arg-type]
            pass
    with pytest.raises(TypeError, match=r"options: expected with a handler, given \['max_size'\]"):
        async with testing.serve(sockwave.create_server(), max_size=1):
            pass


async def test_server_on_a_unix_socket_is_reached_by_a_port(tmp_path: Path) -> None:
    server = sockwave.create_server()
    server.handle_with(echo)
    server.listen(path=tmp_path / "socket")
    async with testing.pair(server) as (_, client_conn):
        await client_conn.send("hello")
        assert await client_conn.receive() == "hello"


def test_server_on_a_unix_socket_has_no_port_in_memory(tmp_path: Path) -> None:
    async def serve() -> None:
        async with testing.serve(sockwave.create_server().listen(path=tmp_path / "socket")):
            pass

    with pytest.raises(ValueError, match="target: expected one that listens on a port"):
        testing.run(serve())


async def test_server_on_all_interfaces_is_reached() -> None:
    server = sockwave.create_server().listen(0)
    async with testing.serve(server) as url, sockwave.connect(url) as conn:
        assert conn.is_open


async def test_connections_of_an_application_make_no_pair() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            while (await receive())["type"] != "websocket.disconnect":
                pass

    with pytest.raises(TypeError, match="target: expected a server that takes '/' itself"):
        async with testing.pair(sockwave.create_server(asgi=application)):
            pass


async def test_error_of_the_block_is_its_own() -> None:
    @asynccontextmanager
    async def raising() -> AsyncIterator[None]:
        async with testing.pair(echo):
            yield

    with pytest.raises(ZeroDivisionError):
        async with raising():
            raise ZeroDivisionError


def test_free_port_can_be_bound() -> None:
    with socket.create_server(("127.0.0.1", testing.find_free_port())):
        pass
