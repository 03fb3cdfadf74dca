"""Starlette and FastAPI, asked by httpx and websockets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from conftest import ErrorLog, StartServer
from fastapi import BackgroundTasks, FastAPI, HTTPException, WebSocket, WebSocketDisconnect
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from wire import Wire, wait_until

import sockwave

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def http_url(server: sockwave.Server) -> str:
    host, port = server.addresses[0]
    return f"http://{host}:{port}"


class Item(BaseModel):
    name: str
    price: float


def make_fastapi(events: list[str]) -> FastAPI:
    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        events.append("started")
        yield {"database": "db"}
        events.append("stopped")

    app = FastAPI(lifespan=lifespan)

    @app.post("/items")
    async def create(item: Item) -> Item:
        return Item(name=item.name.upper(), price=item.price * 2)

    @app.get("/items/{number}")
    def read(number: int) -> dict[str, int]:  # plain, in a thread
        if number == 0:
            raise HTTPException(404, "no such item")
        return {"number": number}

    @app.get("/background")
    async def background(tasks: BackgroundTasks) -> str:
        tasks.add_task(events.append, "background")
        return "later"

    @app.get("/fails")
    async def fails() -> None:
        raise ZeroDivisionError

    @app.websocket("/ws/{room}")
    async def talk(websocket: WebSocket, room: str) -> None:
        if room == "closed":
            return await websocket.close()
        if room == "denied":
            await websocket.send_denial_response(PlainTextResponse("members only", 401))
            return None
        await websocket.accept(subprotocol="chat" if "chat" in websocket["subprotocols"] else None)
        try:
            while True:
                text = await websocket.receive_text()
                await websocket.send_json({"room": room, "text": text})
        except WebSocketDisconnect as end:
            events.append(f"left {end.code}")

    @app.websocket("/careless")
    async def careless(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            while True:
                await websocket.receive_text()
        finally:
            events.append("careless")

    return app


async def test_fastapi_answers_requests(start_server: StartServer, error_log: ErrorLog) -> None:
    events: list[str] = []
    server = await start_server(asgi=make_fastapi(events))
    async with httpx.AsyncClient(base_url=http_url(server)) as client:
        item = await client.post("/items", json={"name": "cup", "price": 1.5})
        assert item.json() == {"name": "CUP", "price": 3.0}
        assert (await client.post("/items", json={"name": "cup"})).status_code == 422
        assert (await client.get("/items/7")).json() == {"number": 7}
        assert (await client.get("/items/0")).status_code == 404
        assert (await client.get("/none")).status_code == 404
        assert (await client.get("/docs")).headers["content-type"].startswith("text/html")
        assert (await client.get("/background")).json() == "later"
        await wait_until(lambda: "background" in events)
        assert (await client.get("/fails")).status_code == 500
        assert [type(error) for error in error_log.take()] == [ZeroDivisionError]
    await server.close()
    assert (events[0], events[-1]) == ("started", "stopped")


async def test_fastapi_talks_over_websockets(start_server: StartServer) -> None:
    events: list[str] = []
    server = await start_server(asgi=make_fastapi(events))
    url = http_url(server).replace("http", "ws")
    async with websockets.connect(f"{url}/ws/a", subprotocols=["chat"]) as socket:  # type: ignore[list-item]
        assert socket.subprotocol == "chat"
        await socket.send("hello")
        assert await socket.recv() == '{"room":"a","text":"hello"}'
        await socket.close(3001)
    await wait_until(lambda: "left 3001" in events)
    # That a client has left is no error of an application, although most do not catch it.
    async with websockets.connect(f"{url}/careless"):
        pass
    await wait_until(lambda: "careless" in events)
    for room, status in (("closed", 403), ("denied", 401)):
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(f"{url}/ws/{room}")
        assert refused.value.response.status_code == status


class Stamp(BaseHTTPMiddleware):
    async def dispatch(self, request: Any, call_next: Any) -> Any:
        response = await call_next(request)
        response.headers["x-stamp"] = request.state.name
        return response


def make_starlette(path: Path, events: list[str], *, is_bare: bool = False) -> Starlette:
    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
        yield {"name": "state"}

    async def echo(request: Any) -> PlainTextResponse:
        return PlainTextResponse(await request.body())

    async def stream(request: Any) -> StreamingResponse:
        async def lines() -> AsyncIterator[str]:
            try:
                for number in range(3 if request.query_params else 10**9):
                    yield f"data: {number}\n\n"
                    await asyncio.sleep(0)
            finally:
                events.append("stream ended")

        return StreamingResponse(lines(), media_type="text/event-stream")

    async def disconnected(request: Any) -> PlainTextResponse:
        await request.body()
        while not await request.is_disconnected():  # noqa: ASYNC110 - what Starlette's users write
            await asyncio.sleep(0)
        events.append("disconnected")
        return PlainTextResponse("to nobody")

    async def where(request: Any) -> JSONResponse:
        return JSONResponse(
            [request.scope["root_path"], request.url.path, str(request.url_for("where"))]
        )

    async def file(request: Any) -> FileResponse:
        return FileResponse(path)

    async def ws(websocket: Any) -> None:
        await websocket.accept()
        async for message in websocket.iter_bytes():
            await websocket.send_bytes(message)

    return Starlette(
        routes=[
            Route("/echo", echo, methods=["POST"]),
            Route("/stream", stream),
            Route("/disconnected", disconnected),
            Route("/file", file),
            Mount("/sub", routes=[Route("/where", where, name="where")]),
            Route("/where", where, name="where"),
            WebSocketRoute("/ws", ws),
        ],
        middleware=[]
        if is_bare
        else [Middleware(Stamp), Middleware(GZipMiddleware, minimum_size=1000)],
        lifespan=lifespan,
    )


async def test_starlette_answers_requests(start_server: StartServer, tmp_path: Path) -> None:
    events: list[str] = []
    path = tmp_path / "page.html"
    path.write_text("<p>" + "x" * 200_000)
    server = await start_server(asgi=make_starlette(path, events))
    async with httpx.AsyncClient(base_url=http_url(server)) as client:
        found = await client.post("/echo", content=b"y" * 100_000)
        assert found.content == b"y" * 100_000
        assert found.headers["x-stamp"] == "state"
        assert found.headers["content-encoding"] == "gzip"
        assert (await client.get("/stream?some=1")).text.count("data:") == 3
        assert (await client.get("/file")).text == path.read_text()
        found = await client.get("/file", headers={"Range": "bytes=0-2", "Accept-Encoding": "x"})
        assert (found.status_code, found.text) == (206, "<p>")
        head = await client.head("/file", headers={"Accept-Encoding": "x"})
        assert head.headers["content-length"] == str(path.stat().st_size)
        assert (await client.get("/where")).json()[:2] == ["", "/where"]
        url = http_url(server)
        found = await client.get("/sub/where")
        assert found.json() == ["/sub", "/sub/where", f"{url}/sub/where"]


async def test_starlette_sees_that_its_client_has_gone(
    start_server: StartServer, tmp_path: Path
) -> None:
    events: list[str] = []
    # Below BaseHTTPMiddleware, Starlette's `is_disconnected` never tells.
    server = await start_server(asgi=make_starlette(tmp_path, events, is_bare=True))
    for target, event in (("/stream", "stream ended"), ("/disconnected", "disconnected")):
        wire = await Wire.open(server.addresses[0])
        wire.write(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        await wire.drain()
        if target == "/stream":
            await wire.receive_head()
        wire.reset()
        await wait_until(lambda event=event: event in events)
        await wire.close()


async def test_starlette_is_mounted_beside_our_own_events(
    start_server: StartServer, tmp_path: Path, engine: str
) -> None:
    server = sockwave.create_server(engine=engine)
    server.mount("/app", make_starlette(tmp_path, [])).listen(0, "127.0.0.1")
    server.on("request", lambda req, res: res.end("ours"))
    server.on("connection", lambda conn: conn.send("ours"))
    async with server, httpx.AsyncClient(base_url=http_url(server)) as client:
        assert (await client.get("/x")).text == "ours"
        url = http_url(server)
        found = await client.get("/app/sub/where")
        assert found.json() == ["/app/sub", "/app/sub/where", f"{url}/app/sub/where"]
        async with websockets.connect(url.replace("http", "ws") + "/app/ws") as socket:
            await socket.send(b"hello")
            assert await socket.recv() == b"hello"
        async with websockets.connect(url.replace("http", "ws")) as socket:
            assert await socket.recv() == "ours"
