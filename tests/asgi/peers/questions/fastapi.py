"""What FastAPI's documentation is about, asked."""

from typing import Any

import websockets
from asking import Question, ask, get, in_turn, post, told
from talking import talk

ITEM = {"name": "é", "price": 1.5, "tags": ["a"], "inner": {"name": "x", "price": 2}}


async def chat(base: str) -> Any:
    """Chat in a room, as the page on WebSockets has it."""
    url = base.replace("http", "ws", 1) + "/ws/chat/"
    async with websockets.connect(url + "ada", proxy=None) as ada:
        await ada.send("alone")
        lines: list[Any] = [await ada.recv()]
        async with websockets.connect(url + "bob", proxy=None) as bob:
            await bob.send("hello")
            lines += [await ada.recv(), await bob.recv()]
        lines.append(await ada.recv())
    return lines


QUESTIONS: dict[str, Question] = {
    "a path parameter": get("/items/7?q=abc", '"number":7'),
    "a path parameter that is no number": get("/items/x", "int_parsing", status=422),
    "a path parameter that is too small": get("/items/0", "greater_than_equal", status=422),
    "a query parameter that is too long": get("/items/1?q=123456", status=422),
    "a plain function": get("/plain/3", '"number":3'),
    "an HTTPException": get("/plain/0", "no such item", status=404),
    "an enumeration": get("/kinds/small?tags=a&tags=b", '["a","b"]'),
    "none of an enumeration": get("/kinds/medium", status=422),
    "a path in a path": get("/files/home/a%20b.txt", "home/a b.txt"),
    "headers and cookies": get(
        "/seen", "loaded", headers={"X-Token": "one", "Cookie": "visit=yes"}
    ),
    "a model": post("/items", "é", status=201, json=ITEM),
    "a model that is not valid": post("/items", "greater_than", status=422, json={"price": -1}),
    "a body that is no JSON": post(
        "/items", status=422, content=b"{", headers={"Content-Type": "application/json"}
    ),
    "no body": post("/items", "missing", status=422),
    "a model and a value": ask(
        "PUT", "/items/3", '"importance":5', json={"item": ITEM, "importance": 5}
    ),
    "PATCH without what is unset": ask("PATCH", "/items/3", json={"name": "a", "price": 1}),
    "204": ask("DELETE", "/items/3", status=204),
    "a form and its cookie": in_turn(
        post("/login", "ada", form={"name": "ada", "password": "x y&z"}), get("/seen", "ada")
    ),
    "half a form": post("/login", "missing", status=422, form={"name": "ada"}),
    "an upload": post(
        "/upload", '"size":300000', files={"file": ("é.bin", b"abc" * 100_000, "image/png")}
    ),
    "an upload that is none": post("/upload", status=422, form={"file": "x"}),
    "a dependency with yield": told("session over", get("/dependent", "a session")),
    "an error behind a dependency": get("/dependent-fails", "a session", status=409),
    "no basic authentication": get("/basic", status=401),
    "basic authentication": get("/basic", "ada", headers={"Authorization": "Basic YWRhOmI="}),
    "a bearer": get("/bearer", "abc", headers={"Authorization": "Bearer abc"}),
    "no bearer": get("/bearer", "Not authenticated", status=401),
    "a page": get("/page", "<h1>"),
    "HEAD": ask("HEAD", "/page", status=405),
    "a method that is not allowed": post("/page", status=405),
    "a redirect": get("/old", status=301),
    "a list of models, in gzip": get("/many"),
    "lines": get("/lines", '"n": 4'),
    "a background task": told("notified", post("/notify", "background")),
    "an exception with a handler": get("/unicorn", "unicorn", status=418),
    "an error": get("/fails", status=500),
    "an error in a thread": get("/fails-in-thread", status=500),
    "a response that is not valid": get("/wrong-model", status=500),
    "a router": get("/admin/", "admin"),
    "a router without its slash": get("/admin", status=307),
    "an application below": get("/below/where", '"root_path":"/below"'),
    "the schema": get("/openapi.json"),
    "the schema of an application below": get("/below/openapi.json", '"url":"/below"'),
    "the documentation": get("/docs", "swagger-ui"),
    "CORS, preflight": ask(
        "OPTIONS",
        "/items",
        headers={"Origin": "https://a.example", "Access-Control-Request-Method": "POST"},
    ),
    "CORS, simple": get("/page", headers={"Origin": "https://a.example"}),
    "a WebSocket": talk("/ws/items/5?token=t&q=2", "a", "b", 2, (1000, ""), has="text 5 t 2 b"),
    "a WebSocket without its token": talk("/ws/items/5", has="refused: 403"),
    "a WebSocket whose parameter is not valid": talk("/ws/items/x?token=t", has="refused: 403"),
    "JSON in a WebSocket": talk("/ws/json", '{"a": [1]}', 1, (3000, "bye"), has='"a":[1]'),
    "no JSON in a WebSocket": talk("/ws/json", "{"),
    "a chat": chat,
}
