"""Requests that do not upgrade: heads, bodies, chunks, pipelining, and applications of any temper.

Byte 0 chooses how the application answers, byte 1 how the stream is cut; the rest are bytes.
"""

import asyncio
import functools
from collections.abc import Coroutine
from typing import Any

from fuzz.answers import read_answers
from fuzz.conversation import feed
from fuzz.memory import MemoryServer
from sockwave.errors import Refused
from sockwave.http import Request, Response

BODY_SIZE = 500
STATUSES = {200, 400, 404, 408, 413, 414, 417, 426, 431, 500, 501, 505}
STYLES = ("plain", "body", "stream", "pieces", "late", "raises", "refuses", "ignores")


class Boom(Exception):  # noqa: N818 - what a listener of an application may raise
    """Raised by a listener, to see that it goes no further."""


class Application:
    """Answers each request in the style of the moment."""

    def __init__(self) -> None:
        self.style = "plain"
        self.methods: list[str] = []
        self.bodies: list[bytes] = []
        self.front = MemoryServer(
            body_size=BODY_SIZE,
            header_count=8,
            header_block_size=400,
            request_line_size=100,
            pipelined_count=3,
            high_water=256,
        )
        self.front.server.on("request", self.begin)

    def begin(self, request: Request, response: Response) -> Coroutine[Any, Any, None] | None:
        """Take note of a request, and answer it now or later."""
        self.methods.append(request.method)
        self.look(request)
        if self.style == "plain":
            response.end(f"{len(self.methods)}")
        elif self.style == "raises":
            raise Boom
        elif self.style == "refuses":
            raise Refused(404, "nothing here\n")
        else:
            return self.answer(request, response)
        return None

    def look(self, request: Request) -> None:
        """Read all that can be read of a head."""
        _ = (request.path, request.query, request.http_version, request.cookies, request.origin)
        _ = (dict(request.params), request.headers.items(), list(request.headers))
        assert request.method.isascii()
        assert request.method != "CONNECT", "somebody is promised a tunnel"
        assert "\r" not in request.target
        assert "\n" not in request.target
        for name, value in request.headers.items():
            assert name
            assert not set(name + value) & set("\r\n\0"), f"a header field of {value!r}"

    async def answer(self, request: Request, response: Response) -> None:
        """Answer a request in the style of the moment."""
        number = f"{len(self.methods)}"
        if self.style in ("body", "late"):
            if self.style == "late":
                await asyncio.sleep(1.0)
            body = await request.body()
            assert len(body) <= BODY_SIZE, "a body over the limit"
            response.end(number)
        elif self.style == "stream":
            size = 0
            async for piece in request:
                size += len(piece)
                assert piece
                assert size <= BODY_SIZE, "a body over the limit"
            response.end(number)
        elif self.style == "pieces":
            response.write_head(200, {"Content-Type": "text/plain"})
            for _ in range(3):
                await response.write("piece " * 20)
            await asyncio.sleep(0.1)
            response.end(number)
        else:
            await asyncio.sleep(0.1)
            response.end(number * 100)


@functools.cache
def application() -> Application:
    """Give the one application of this process."""
    return Application()


def run(data: bytes) -> None:
    """Feed a server one stream of bytes, from accept on."""
    if len(data) < 2:
        return
    app = application()
    app.style = STYLES[data[0] & 7]
    app.methods.clear()
    front = app.front
    peer = front.connect()
    if data[0] & 8:
        peer.appetite = 100
    feed(front, peer, data[2:], data[1])
    if data[0] & 16:
        front.pass_time(2.0, peer)
    peer.take(None)
    front.settle(peer)
    front.errors[:] = [error for error in front.errors if not isinstance(error, Boom)]
    front.end(peer)
    is_cut = peer.is_aborted
    if b"websocket" in data.lower():
        return
    answers, rest = read_answers(bytes(peer.output), app.methods, is_cut=is_cut)
    assert not rest
    assert len(answers) <= len(app.methods) + 1, "answers that nobody asked for"
    for number, answer in enumerate(answers, 1):
        assert answer.status in STATUSES, f"answered with {answer.status}"
        closes = "close" in answer.headers.get("connection", "")
        assert not closes or number == len(answers), "an answer behind the last one"
        if answer.status == 200 and answer.body and answer.is_whole:
            assert answer.body.endswith(str(number).encode()), "answers out of order"
