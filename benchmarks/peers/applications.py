"""The ASGI applications that the servers are asked to run: the same for all of them.

What each answers, and how long that is, `http1.py` expects. Those without a framework take no part
in the lifespan, which a server finds out by their AssertionError.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

GREETING = b"Hello, world"
LARGE = b"x" * 10_000
READ_FIELDS = (b"host", b"user-agent", b"accept", b"accept-language", b"cookie")
"""What `reading` looks up."""


async def answer(send: Send, body: bytes) -> None:
    """Send a whole response, as an application does that uses no framework."""
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"
    await answer(send, GREETING)


async def reading(scope: Scope, receive: Receive, send: Send) -> None:
    """Read method, path and five fields before answering."""
    assert scope["type"] == "http"
    fields = dict(scope["headers"])
    if scope["method"] != "GET" or scope["path"] != "/" or not all(map(fields.get, READ_FIELDS)):
        raise ValueError(f"expected a browser's request, got {scope}")
    await answer(send, GREETING)


async def posted(scope: Scope, receive: Receive, send: Send) -> None:
    """Read a body of JSON before answering."""
    assert scope["type"] == "http"
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    json.loads(body)
    await answer(send, GREETING)


async def large(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"
    await answer(send, LARGE)


def create_starlette() -> Application:
    """Create an application of one page and a WebSocket that echoes."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route, WebSocketRoute
    from starlette.websockets import WebSocket, WebSocketDisconnect

    async def greet(request: Request) -> PlainTextResponse:
        return PlainTextResponse(GREETING)

    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            while True:
                await websocket.send_text(await websocket.receive_text())
        except WebSocketDisconnect:
            pass

    return Starlette(routes=[Route("/", greet), WebSocketRoute("/", echo)])


def create_middleware() -> Application:
    """Create the same page behind a `BaseHTTPMiddleware` that adds a field."""
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse, Response
    from starlette.routing import Route

    class Stamp(BaseHTTPMiddleware):
        async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
            response = await call_next(request)
            response.headers["X-Stamp"] = "1"
            return response

    async def greet(request: Request) -> PlainTextResponse:
        return PlainTextResponse(GREETING)

    return Starlette(routes=[Route("/", greet)], middleware=[Middleware(Stamp)])


def create_fastapi() -> Application:
    """Create an application that answers JSON, and a WebSocket that echoes."""
    from fastapi import FastAPI, WebSocket, WebSocketDisconnect

    application = FastAPI()

    @application.get("/")
    async def greet() -> dict[str, str]:
        return {"message": "Hello, world"}

    @application.websocket("/")
    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            while True:
                await websocket.send_text(await websocket.receive_text())
        except WebSocketDisconnect:
            pass

    return application


APPLICATIONS: dict[str, Callable[[], Application]] = {
    "hello": lambda: hello,
    "reading": lambda: reading,
    "posted": lambda: posted,
    "large": lambda: large,
    "starlette": create_starlette,
    "middleware": create_middleware,
    "fastapi": create_fastapi,
}
