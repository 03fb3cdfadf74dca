"""What the tests of ASGI share: applications of a few lines, and the requests they are asked."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from conftest import StartServer
from http_wire import Answer, receive_answer
from wire import Wire, build_request

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def get(
    target: str = "/", *, method: str = "GET", headers: tuple[tuple[str, str], ...] = ()
) -> bytes:
    """Give a request without a body."""
    return build_request([("Host", "a"), *headers], target=target, method=method)


def post(body: bytes, target: str = "/", *, headers: tuple[tuple[str, str], ...] = ()) -> bytes:
    """Give a request with a body."""
    length = ("Content-Length", str(len(body)))
    return build_request([("Host", "a"), length, *headers], target=target, method="POST") + body


@contextlib.asynccontextmanager
async def served(start_server: StartServer, app: App, **options: Any) -> AsyncIterator[Wire]:
    """Serve an application, of which there is no lifespan, and give a connection to it."""
    server = await start_server(asgi=app, lifespan="off", **options)
    async with await Wire.open(server.addresses[0]) as wire:
        yield wire


async def ask(wire: Wire, request: bytes = b"", *, method: str = "GET") -> Answer:
    """Send a request, or the rest of one, and give what it is answered; b"": `get()`."""
    wire.write(request or get())
    return await receive_answer(wire, method=method)


async def start(send: Send, status: int = 200, *headers: tuple[bytes, bytes], **rest: Any) -> None:
    """Send the head of a response."""
    message = {"type": "http.response.start", "status": status, "headers": list(headers)}
    await send(message | rest)


async def answer(send: Send, body: bytes = b"", status: int = 200, *headers: Any) -> None:
    """Send a whole response."""
    await start(send, status, *headers)
    await send({"type": "http.response.body", "body": body})


async def part(send: Send, body: bytes, *, more_body: bool = True) -> None:
    """Send a part of a body."""
    await send({"type": "http.response.body", "body": body, "more_body": more_body})


async def read_body(receive: Receive) -> bytes:
    """Read a request's body to its end."""
    body = b""
    while True:
        message = await receive()
        assert message["type"] == "http.request", message
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return body


class Recorder:
    """An application that answers as a function says, and keeps what happens to it."""

    def __init__(self, function: App) -> None:
        self.function = function
        self.scopes: list[Scope] = []
        self.errors: list[BaseException] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.ended = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            raise ValueError("no lifespan here")
        self.scopes.append(scope)
        task = asyncio.current_task()
        assert task is not None
        self.tasks.append(task)
        try:
            await self.function(scope, receive, send)
        except BaseException as error:
            self.errors.append(error)
            raise
        finally:
            self.ended += 1


async def accept(receive: Receive, send: Send, **rest: Any) -> None:
    """Accept a WebSocket."""
    assert await receive() == {"type": "websocket.connect"}
    await send({"type": "websocket.accept"} | rest)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Send every message of a WebSocket back, and every body of a request."""
    if scope["type"] == "http":
        await answer(send, await read_body(receive))
        return
    await accept(receive, send)
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})
