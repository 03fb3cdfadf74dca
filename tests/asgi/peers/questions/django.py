"""What the documentations of Django and of Channels are about, asked."""

import asyncio
from typing import Any

import websockets
from asking import Question, ask, connect, get, in_turn, post, told, wait_for_event
from talking import talk

HERE = {"Origin": "http://127.0.0.1"}
DATA = bytes(range(256)) * 1000


async def chat(base: str) -> Any:
    """Chat by way of a group, as the tutorial of Channels has it."""
    url = base.replace("http", "ws", 1) + "/ws/chat/lobby/"
    async with websockets.connect(url, proxy=None, origin=HERE["Origin"]) as one:
        async with websockets.connect(url, proxy=None, origin=HERE["Origin"]) as two:
            lines: list[Any] = [await one.recv(), await two.recv()]
            await one.send('{"message": "hello"}')
            lines += [await one.recv(), await two.recv()]
            await two.close(4001)
        lines.append(await wait_for_event(base, "chat left: 4001"))
        await one.send('{"message": "alone"}')
        lines.append(await one.recv())
    return lines


async def leave_a_stream(base: str) -> Any:
    """Read the beginning of an endless answer, and go."""
    async with connect(base) as client, client.stream("GET", "/endless/") as response:
        async for chunk in response.aiter_raw():
            assert chunk.startswith(b"tick")
            break
    return await wait_for_event(base, "endless over")


async def leave_a_view(base: str) -> Any:
    """Go while a view of a coroutine is at work, which Django cancels."""
    host, port = base.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET /wait/ HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    await wait_for_event(base, "wait begun")
    writer.close()
    return await wait_for_event(base, "wait cancelled", "wait over")


QUESTIONS: dict[str, Question] = {
    "a view": get("/", "Hello from Django"),
    "a view that is a coroutine": get("/async/", "coroutine"),
    "HEAD": ask("HEAD", "/"),
    "a class": get("/thing/", "a thing"),
    "OPTIONS of a class": ask("OPTIONS", "/thing/"),
    "a method that a class has not": post("/thing/", status=403),
    "a path with parameters": get("/articles/2024/a-b/?x=1&x=2&y=%C3%A9", '"x": ["1", "2"]'),
    "a path that does not match": get("/articles/x/y/", status=404),
    "a path without its slash": get("/async", status=301),
    "headers": get("/headers/", "X-One", headers={"X-One": "1", "x-two": "b"}),
    "a template": get("/template/", "&lt;ada&gt;"),
    "a form": post("/post/", "Ada L", form={"name": "Ada L"}),
    "uploads": post("/post/", "256000", files={"f": ("a.bin", DATA, "application/x-a")}),
    "a large upload": post("/post/", files={"f": ("a.bin", DATA * 12, "application/x-a")}),
    "GET where POST is required": get("/post/", status=405),
    "a body in chunks": post("/body/", "256003", chunks=(b"abc", DATA)),
    "a body that is too large": post("/body/", status=400, content=DATA * 12),
    "a body of PUT": ask("PUT", "/body/", '"method": "PUT"', content=b"x"),
    "a form without a token": post("/protected/", status=403, form={"a": "b"}),
    "a session": in_turn(get("/count/", "1"), get("/count/", "2"), ask("DELETE", "/count/")),
    "a stream": get("/stream/", "9\n"),
    "a stream from a thread": get("/stream-in-thread/", "9\n"),
    "a download": get("/download/"),
    "HEAD of a download": ask("HEAD", "/download/"),
    "a tag": get("/tagged/", "tagged"),
    "a tag that is known": get("/tagged/", status=304, headers={"If-None-Match": '"one"'}),
    "Http404": get("/missing/", status=404),
    "PermissionDenied": get("/denied/", status=403),
    "an error": get("/fails/", status=500),
    "an error in a coroutine": get("/fails-async/", status=500),
    "a redirect": get("/go/", status=302),
    "a consumer of requests": get("/sse/", "data: 2"),
    "a client that leaves a stream": leave_a_stream,
    "a client that leaves a view": leave_a_view,
    "a chat": told("chat left: 1000", chat),
    "a consumer in a thread": talk(
        "/ws/echo/", "é", b"\x00", 2, "close", headers=HERE, has="4123 as asked"
    ),
    "a subprotocol": talk(
        "/ws/echo/", (1000, ""), headers=HERE, subprotocols=("a", "b"), has="open: a"
    ),
    "JSON": talk("/ws/json/", '{"a": 1}', 1, (1000, ""), headers=HERE, has='{"a": 1}'),
    "no origin": talk("/ws/json/", has="refused: 403"),
    "an origin that is not allowed": talk(
        "/ws/json/", headers={"Origin": "http://evil.example"}, has="refused: 403"
    ),
    "a consumer that refuses": talk("/ws/refuse/", headers=HERE, has="refused: 403"),
    "a consumer that fails": talk("/ws/fails/", "x", headers=HERE),
    "no consumer": talk("/ws/none/", headers=HERE, has="refused: 500"),
}
