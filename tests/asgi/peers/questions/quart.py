"""What Quart's documentation is about, asked."""

from asking import Question, ask, get, in_turn, post, told
from talking import talk

QUESTIONS: dict[str, Question] = {
    "a text": get("/", "Hello, yes"),
    "HEAD": ask("HEAD", "/"),
    "OPTIONS": ask("OPTIONS", "/count"),
    "a thread": get("/sync", "a thread"),
    "path parameters": get("/users/%C3%A9/3", '"number":3'),
    "a path parameter that is no number": get("/users/a/b", "nothing here", status=404),
    "a query": get("/query?a=1&a=%20", '["1"," "]'),
    "a template": get("/template", "&lt;ada&gt;"),
    "JSON": post("/json", '"a"', status=201, json={"a": [1, None]}),
    "no JSON": post(
        "/json", status=400, content=b"{", headers={"Content-Type": "application/json"}
    ),
    "a form": post("/form", "b c", form={"a": "b c"}),
    "uploads": post("/form", "50000", files={"f": ("a.bin", b"x" * 50_000, "a/b")}),
    "a streamed body": post("/body", "300000", chunks=(b"x" * 100_000,) * 3),
    "a body that is too large": post("/body", status=413, content=b"x" * 1_100_000),
    "a stream": get("/stream", "GET 4"),
    "server-sent events": get("/sse", "data: 2"),
    "a session": in_turn(
        get("/count", '"count":1'), get("/count", '"count":2'), ask("DELETE", "/count", "null")
    ),
    "a cookie": get("/cookie"),
    "a background task": told("background", get("/later", "later")),
    "a redirect": get("/go", status=302),
    "an error of HTTP": get("/abort/409", status=409),
    "an error": get("/fails", status=500),
    "a method that is not allowed": post("/", status=405),
    "a blueprint": get("/api/where", "api.where"),
    "a WebSocket": told("echo cancelled", talk("/ws/echo", "é", b"x", 2, (1000, ""), has="text é")),
    "a WebSocket that is accepted": talk(
        "/ws/accept?a=1", subprotocols=("one", "two"), has="4000 that is all"
    ),
    "a WebSocket that is refused": talk("/ws/refuse", has="refused: 401"),
    "a WebSocket that is aborted": talk("/ws/abort", has="refused: 403"),
    "a WebSocket that fails": talk("/ws/fails", "x"),
    "no WebSocket": talk("/ws/none", has="refused: 404"),
}
