"""Litestar: handlers, guards, layers, channels, server-sent events, WebSocket listeners."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from litestar import (
    Controller,
    Litestar,
    Request,
    Response,
    WebSocket,
    delete,
    get,
    head,
    post,
    put,
    route,
    websocket,
    websocket_listener,
)
from litestar.background_tasks import BackgroundTask
from litestar.channels import ChannelsPlugin
from litestar.channels.backends.memory import MemoryChannelsBackend
from litestar.config.compression import CompressionConfig
from litestar.config.cors import CORSConfig
from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie, State, UploadFile
from litestar.di import Provide
from litestar.enums import RequestEncodingType
from litestar.exceptions import NotAuthorizedException, WebSocketDisconnect
from litestar.handlers import BaseRouteHandler
from litestar.middleware.session.server_side import ServerSideSessionConfig
from litestar.params import Body, Parameter
from litestar.response import File, Redirect, ServerSentEvent, Stream
from litestar.static_files import create_static_files_router

FILES = Path(tempfile.mkdtemp(prefix="sockwave-peers-"))
(FILES / "style.css").write_text("body { color: blue }")
(FILES / "large.bin").write_bytes(bytes(range(256)) * 2048)

EVENTS: list[str] = []


@dataclass
class Item:
    name: str
    price: float


@get("/")
async def index() -> str:
    return "Hello, world!"


@get("/sync", sync_to_thread=True)
def in_thread() -> dict[str, str]:
    return {"from": "a thread"}


@get("/items/{number:int}")
async def item(number: int, q: str | None = None) -> dict[str, Any]:
    return {"number": number, "q": q}


@get("/paths/{path:path}")
async def path(path: str) -> str:
    return path


@get("/limited")
async def limited(size: Annotated[int, Parameter(ge=1, le=10)]) -> int:
    return size


@post("/items")
async def create(data: Item) -> Item:
    return data


@post("/form")
async def form(
    data: Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)],
) -> dict[str, str]:
    return data


@post("/upload")
async def upload(
    data: Annotated[UploadFile, Body(media_type=RequestEncodingType.MULTI_PART)],
) -> dict[str, Any]:
    content = await data.read()
    return {"name": data.filename, "type": data.content_type, "size": len(content)}


@post("/body")
async def body(request: Request[Any, Any, Any]) -> dict[str, int]:
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
    return {"size": size}


class Things(Controller):
    path = "/things"

    @get()
    async def all(self) -> list[str]:
        return ["a", "b"]

    @put("/{name:str}")
    async def put(self, name: str, request: Request[Any, Any, Any]) -> str:
        return f"{name}: {(await request.body()).decode()}"

    @delete("/{name:str}")
    async def delete(self, name: str) -> None:
        return None

    @head("/{name:str}")
    async def look(self, name: str) -> None:
        return None


async def database(state: State) -> str:
    return f"database of {state.name}"


@get("/injected", dependencies={"database": Provide(database)})
async def injected(database: str) -> str:
    return database


def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    if connection.headers.get("X-Token") != "yes":
        raise NotAuthorizedException


@get("/guarded", guards=[guard])
async def guarded() -> str:
    return "guarded"


@get("/lines")
async def lines() -> Stream:
    async def numbers() -> AsyncGenerator[str, None]:
        for number in range(10):
            yield f"{number}\n"
            await asyncio.sleep(0)

    return Stream(numbers(), media_type="text/plain")


@get("/sse")
async def sse() -> ServerSentEvent:
    async def numbers() -> AsyncGenerator[Any, None]:
        for number in range(3):
            yield {"data": f"number {number}", "event": "count", "id": str(number)}

    return ServerSentEvent(numbers())


@get("/download")
async def download() -> File:
    return File(FILES / "large.bin", filename="a file.bin", etag=None)


@get("/go")
async def go() -> Redirect:
    return Redirect("/items/1")


@get("/cookies", response_cookies=[Cookie("a", "1", httponly=True)], response_headers={"X-A": "b"})
async def cookies(request: Request[Any, Any, Any]) -> dict[str, str]:
    return dict(sorted(request.cookies.items()))


@get("/later")
async def later() -> Response[str]:
    return Response("later", background=BackgroundTask(EVENTS.append, "background"))


@get("/fails")
async def fails() -> None:
    raise ZeroDivisionError


@get("/teapot")
async def teapot() -> None:
    raise KeyError


def handle_key_error(request: Request[Any, Any, Any], error: KeyError) -> Response[str]:
    return Response("a teapot", status_code=418)


@route("/any", http_method=["GET", "POST"])
async def any_method(request: Request[Any, Any, Any]) -> str:
    return request.method


@get("/session")
async def read_session(request: Request[Any, Any, Any]) -> dict[str, Any]:
    return dict(request.session)


@post("/session")
async def set_session(request: Request[Any, Any, Any], data: dict[str, str]) -> None:
    request.set_session(data)


@get("/events")
async def events() -> list[str]:
    return EVENTS


@websocket_listener("/ws/echo")
async def echo(data: str) -> str:
    return data.upper()


@websocket_listener("/ws/items")
async def listen_items(data: dict[str, float]) -> dict[str, float]:
    return {name: value * 2 for name, value in data.items()}


@websocket("/ws/plain/{name:str}")
async def talk(socket: WebSocket[Any, Any, Any], name: str) -> None:
    await socket.accept(subprotocols="two", headers={"X-Name": name})
    try:
        while True:
            await socket.send_bytes(await socket.receive_data("binary"))
    except WebSocketDisconnect as gone:
        EVENTS.append(f"gone: {gone.code}")


@websocket("/ws/guarded", guards=[guard])
async def guarded_socket(socket: WebSocket[Any, Any, Any]) -> None:
    await socket.accept()
    await socket.close(4000, "guarded")


@websocket("/ws/fails")
async def failing_socket(socket: WebSocket[Any, Any, Any]) -> None:
    await socket.accept()
    raise ZeroDivisionError


@contextlib.asynccontextmanager
async def lifespan(app: Litestar) -> AsyncIterator[None]:
    app.state.name = "litestar"
    yield


channels = ChannelsPlugin(
    MemoryChannelsBackend(history=10),
    arbitrary_channels_allowed=True,
    create_ws_route_handlers=True,
    ws_handler_base_path="/ws/channel",
)


@post("/publish/{channel:str}")
async def publish(channel: str, request: Request[Any, Any, Any]) -> None:
    channels.publish((await request.body()).decode(), channel)


sessions = ServerSideSessionConfig()

app = Litestar(
    route_handlers=[
        index, in_thread, item, path, limited, create, form, upload, body, Things, injected,
        guarded, lines, sse, download, go, cookies, later, fails, teapot, any_method, read_session,
        set_session, events, echo, listen_items, talk, guarded_socket, failing_socket, publish,
        create_static_files_router(path="/static", directories=[FILES]),
    ],
    lifespan=[lifespan],
    plugins=[channels],
    middleware=[sessions.middleware],
    cors_config=CORSConfig(allow_origins=["https://example.org"]),
    compression_config=CompressionConfig(backend="gzip", minimum_size=2000),
    exception_handlers={KeyError: handle_key_error},
)  # fmt: skip
