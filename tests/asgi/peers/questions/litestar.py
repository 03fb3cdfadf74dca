"""What Litestar's documentation is about, asked."""

import asyncio
from typing import Any

import websockets
from asking import PATIENCE_S, Question, ask, connect, get, in_turn, post, told
from talking import talk


async def channel(base: str) -> Any:
    """Publish in a channel until a subscriber hears of it."""
    url = base.replace("http", "ws", 1) + "/ws/channel/news"
    async with websockets.connect(url, proxy=None) as one, connect(base) as client:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                assert (await client.post("/publish/news", content=b"hello")).status_code == 201
                try:
                    return await asyncio.wait_for(one.recv(), 0.1)
                except TimeoutError:
                    continue


QUESTIONS: dict[str, Question] = {
    "a text": get("/", "Hello"),
    "HEAD of a text": ask("HEAD", "/", status=405),
    "OPTIONS": ask("OPTIONS", "/", status=204),
    "a thread": get("/sync", "a thread"),
    "a path parameter": get("/items/7?q=%C3%A9", '"number":7'),
    "a path parameter that is no number": get("/items/x", status=404),
    "a path in a path": get("/paths/a/b%20c", "/a/b c"),
    "a query parameter that is too large": get("/limited?size=11", status=400),
    "no query parameter": get("/limited", status=400),
    "a dataclass": post("/items", '"price":2.5', status=201, json={"name": "é", "price": 2.5}),
    "no dataclass": post("/items", status=400, json={"name": 1}),
    "a form": post("/form", "b c", status=201, form={"a": "b c"}),
    "an upload": post(
        "/upload", "200000", status=201, files={"data": ("a.bin", b"ab" * 100_000, "a/b")}
    ),
    "a streamed body": post("/body", "100003", status=201, chunks=(b"abc", b"x" * 100_000)),
    "a controller": in_turn(
        get("/things", '["a","b"]'),
        ask("PUT", "/things/x", "x: y", content=b"y"),
        ask("DELETE", "/things/x", status=204),
        ask("HEAD", "/things/x"),
        ask("PATCH", "/things/x", status=405),
    ),
    "a dependency": get("/injected", "database of litestar"),
    "a guard": get("/guarded", status=401),
    "behind a guard": get("/guarded", "guarded", headers={"X-Token": "yes"}),
    "a stream": get("/lines", "9\n"),
    "server-sent events": get("/sse", "number 2"),
    "a download": get("/download"),
    "a redirect": get("/go", status=302),
    "cookies": get("/cookies", '"b":"2"', headers={"Cookie": "b=2"}),
    "a background task": told("background", get("/later", "later")),
    "an error": get("/fails", status=500),
    "an error with a handler": get("/teapot", "teapot", status=418),
    "a route of two methods": in_turn(
        get("/any", "GET", status=201),
        post("/any", "POST", status=201),
        ask("PUT", "/any", status=405),
    ),
    "a session": in_turn(
        get("/session", "{}"), post("/session", status=201, json={"a": "b"}), get("/session", "b")
    ),
    "a static file": get("/static/style.css", "color"),
    "HEAD of a static file": ask("HEAD", "/static/style.css"),
    "a large static file": get("/static/large.bin"),
    "no static file": get("/static/none", status=404),
    "the schema": get("/schema/openapi.json"),
    "CORS, preflight": ask(
        "OPTIONS",
        "/items/1",
        status=204,
        headers={"Origin": "https://example.org", "Access-Control-Request-Method": "GET"},
    ),
    "a WebSocket listener": talk("/ws/echo", "a", "é", 2, (1000, ""), has="text É"),
    "a WebSocket listener of JSON": talk(
        "/ws/items", '{"price": 2}', 1, (1001, ""), has='"price":4'
    ),
    "a WebSocket listener that gets something else": talk("/ws/items", "{"),
    "a WebSocket": told(
        "gone: 4999",
        talk(
            "/ws/plain/ada", b"\x00", 1, (4999, "x"), subprotocols=("one", "two"), has="open: two"
        ),
    ),
    "a WebSocket behind a guard": talk("/ws/guarded", headers={"X-Token": "yes"}, has="4000"),
    "a WebSocket that a guard refuses": talk("/ws/guarded", has="refused"),
    "a WebSocket that fails": talk("/ws/fails", has="closed"),
    "no WebSocket": talk("/ws/none", has="refused"),
    "a channel": channel,
}
