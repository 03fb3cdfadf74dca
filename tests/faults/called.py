"""The ASGI application under test: it answers what served.py answers to HTTP, and echoes."""

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Called:
    """An application that does what it should, and what it should not, by the path.

    Nothing cancels a call that never ends, whoever has gone: `/collect` lets them end, so that what
    is there then has been left behind by somebody else.
    """

    def __init__(
        self, large: bytes, measure: Callable[[], dict[str, Any]], collect: Callable[[], None]
    ) -> None:
        self.large = large
        self.measure = measure
        self.collect = collect
        self.held: set[asyncio.Future[None]] = set()
        self.paths: dict[str, Callable[[Receive, Send], Awaitable[None]]] = {
            "/upload": self.take_body,
            "/unread": self.never_end,
            "/endless": self.send_for_ever,
        }

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
        elif scope["type"] == "websocket":
            await self.echo(receive, send)
        elif scope["path"] in self.paths:
            await self.paths[scope["path"]](receive, send)
        elif scope["path"] in ("/", "/large"):
            await answer(send, b"hello" if scope["path"] == "/" else self.large)
        else:
            if scope["path"] == "/collect":
                await self.release()
                self.collect()
            await answer(send, json.dumps(self.measure()).encode(), (b"connection", b"close"))

    async def echo(self, receive: Receive, send: Send) -> None:
        """Send each message back."""
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({**message, "type": "websocket.send"})

    async def take_body(self, receive: Receive, send: Send) -> None:
        """Read the body, and answer."""
        while (message := await receive())["type"] == "http.request":
            if not message.get("more_body", False):
                await answer(send, b"thanks")
                return

    async def never_end(self, receive: Receive, send: Send) -> None:
        """Neither receive nor send anything, nor look whether the client is there."""
        future = asyncio.get_running_loop().create_future()
        self.held.add(future)
        try:
            await future
        finally:
            self.held.discard(future)

    async def release(self) -> None:
        """Let the calls end that never do."""
        while self.held:
            for future in self.held:
                if not future.done():
                    future.set_result(None)
            await asyncio.sleep(0)

    async def send_for_ever(self, receive: Receive, send: Send) -> None:
        """Answer without an end, as fast as the client takes it."""
        await send({"type": "http.response.start", "status": 200})
        while True:
            await send({"type": "http.response.body", "body": self.large, "more_body": True})


async def answer(send: Send, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    """Send a whole answer."""
    start = {"type": "http.response.start", "status": 200}
    length = (b"content-length", str(len(body)).encode())
    await send({**start, "headers": [(b"content-type", b"text/plain"), length, *headers]})
    await send({"type": "http.response.body", "body": body})
