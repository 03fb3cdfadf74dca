"""What Starlette's documentation is about, asked."""

import asyncio
import socket
import struct
from typing import Any

import httpx
import websockets
from asking import Question, ask, connect, get, in_turn, post, told, wait_for_event
from talking import talk

DATA = bytes(range(256)) * 1000
BASIC = {"Authorization": "Basic YWRhOnNlY3JldA=="}
ORIGIN = {"Origin": "https://example.org"}


async def leave_a_stream(base: str) -> Any:
    """Read the beginning of an endless answer, and go."""
    async with connect(base) as client:
        async with client.stream("GET", "/endless") as response:
            async for chunk in response.aiter_raw():
                assert chunk.startswith(b"tick")
                break
        return await wait_for_event(base, "endless stream over")


async def leave_a_stream_behind_middleware(base: str) -> Any:
    """Do so where BaseHTTPMiddleware stands between."""
    async with connect(base) as client, client.stream("GET", "/wrapped/endless") as response:
        assert response.headers["x-wrapped"] == "yes"
        async for _ in response.aiter_raw():
            break
    return await wait_for_event(base, "endless stream over")


async def wait_for_a_late_stream(base: str) -> Any:
    """See that the head is there long before the first part of the body."""
    async with connect(base) as client, client.stream("GET", "/late") as response:
        head = [response.status_code, response.headers["x-late"]]
        assert (await client.get("/release")).text == "released"
        return [*head, (await response.aread()).decode()]


async def leave_a_poll(base: str) -> Any:
    """Send a request whose answer never comes, and go."""
    _, writer = await open_connection(base)
    writer.write(b"GET /poll?end=fin HTTP/1.1\r\nHost: a\r\n\r\n")
    await wait_for_event(base, "poll begun: fin")
    writer.close()
    return await wait_for_event(base, "poll over: fin", "poll given up: fin")


async def reset_a_poll(base: str) -> Any:
    """Do so, and end the connection by RST."""
    _, writer = await open_connection(base)
    writer.write(b"GET /poll?end=rst HTTP/1.1\r\nHost: a\r\n\r\n")
    await wait_for_event(base, "poll begun: rst")
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    return await wait_for_event(base, "poll over: rst", "poll given up: rst")


async def open_connection(base: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect without a client of HTTP."""
    host, port = base.removeprefix("http://").split(":")
    return await asyncio.open_connection(host, int(port))


async def leave_an_upload(base: str) -> Any:
    """Send a part of a body, and go."""
    _, writer = await open_connection(base)
    writer.write(b"POST /upload-slowly HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\nhalf")
    await wait_for_event(base, "upload begun: 4")
    writer.close()
    return await wait_for_event(base, "upload over")


async def leave_a_push(base: str) -> Any:
    """Go without a closing handshake while messages come."""
    url = base.replace("http", "ws", 1)
    client = await websockets.connect(url + "/ws/push", proxy=None)
    assert await client.recv() == bytes(1000)
    client.transport.abort()
    return await wait_for_event(base, "push over")


async def share_a_room(base: str) -> Any:
    """Talk in a room of three."""
    url = base.replace("http", "ws", 1) + "/ws/room/lobby"
    lines: list[Any] = []
    async with (
        websockets.connect(url, proxy=None) as one,
        websockets.connect(url, proxy=None) as two,
        websockets.connect(url, proxy=None) as three,
    ):
        lines += sorted([await one.recv(), await two.recv(), await three.recv()])
        await two.send("hello, all")
        lines += [await client.recv() for client in (one, two, three)]
        await three.close()
        await one.send("one less")
        lines += [await client.recv() for client in (one, two)]
    return lines


async def many_at_once(base: str) -> Any:
    """Ask a hundred things at once, by ten connections."""
    limits = httpx.Limits(max_connections=10)
    async with connect(base, limits=limits) as client:
        answers = await asyncio.gather(
            *(client.get(f"/items/{number}") for number in range(50)),
            *(client.post("/json", json=[number] * number) for number in range(50)),
        )
    return [[answer.status_code, len(answer.content)] for answer in answers]


QUESTIONS: dict[str, Question] = {
    # Routing and what a request says.
    "a page": get("/", "<p>front</p>"),
    "a text": get("/text", "Hello, world!"),
    "HEAD of a text": ask("HEAD", "/text"),
    "a method that is not allowed": ask("DELETE", "/text", status=405),
    "OPTIONS without CORS": ask("OPTIONS", "/text", status=405),
    "a path that is not there": get("/nowhere", "Not Found", status=404),
    "a slash too many": get("/text/", status=307),
    "a slash too few": get("/slash?x=1", status=307),
    "a path parameter": get("/users/ada", '"name":"ada"'),
    "a path parameter with escapes": get("/users/a%20b%C3%A9%3F", "a%20b%C3%A9%3F"),
    "a path parameter with an escaped slash": get("/rest/a%2Fb/c", "a/b/c"),
    "an integer": get("/items/007", '"number":"7"'),
    "no integer": get("/items/seven", status=404),
    "a float": get("/numbers/1.50", '"number":"1.5"'),
    "a path below a mount": get("/sub/describe/x?y=1", '"root_path":"/sub"'),
    "a query": get("/describe?a=1&a=2&b=%C3%A9&c=x+y&d", '["a","2"]'),
    "a query with characters that need escapes": get("/describe?q=a/b?c:d@e", "a/b?c:d@e"),
    "request headers": get("/describe", "x-two", headers={"X-Two": "b  c"}),
    "PATCH": ask("PATCH", "/describe", '"method":"PATCH"', content=b"x"),
    "OPTIONS that the application takes": ask("OPTIONS", "/describe", '"method":"OPTIONS"'),
    # Bodies.
    "JSON": post("/json", "é", json={"name": "é", "list": [1, 2.5, None, True]}),
    "broken JSON": post("/json", status=500, content=b"{"),
    "a form": post("/form", "Ada L", form={"name": "Ada L", "sign": "&=+é"}),
    "uploads": post(
        "/form",
        "a.bin",
        files={"one": ("a.bin", DATA, "application/x-a"), "two": ("b.txt", b"b", "text/plain")},
    ),
    "a large upload": post("/form", "c.bin", files={"c": ("c.bin", DATA * 12, "image/png")}),
    "a body that is streamed": post("/body", '"size":256000', content=DATA),
    "a body in chunks": post("/body", '"size":256003', chunks=(b"abc", DATA)),
    "a large body": ask("PUT", "/body", '"size":5120000', content=DATA * 20),
    "an empty body": post("/body", '"size":0', content=b""),
    "a large body that is not read": in_turn(
        post("/ignore", "not read", content=DATA * 20), get("/text", "Hello")
    ),
    # Responses.
    "a stream": get("/stream", "9\n"),
    "HEAD of a stream": ask("HEAD", "/stream"),
    "a stream from a thread": get("/stream-in-thread", "9\n"),
    "a stream that is late": wait_for_a_late_stream,
    "a large answer": get("/large?times=20000", "5120000 bytes"),
    "an empty answer": get("/large?times=0"),
    "a file": get("/file", "1048576 bytes"),
    "HEAD of a file": ask("HEAD", "/file"),
    "a part of a file": get("/file", status=206, headers={"Range": "bytes=5-14"}),
    "two parts of a file": get("/file", status=206, headers={"Range": "bytes=0-1,-2"}),
    "a part beyond a file": get("/file", status=416, headers={"Range": "bytes=99999999-"}),
    "a redirect": get("/redirect", status=303),
    "204": get("/status/204", status=204),
    "304": get("/status/304", status=304),
    "201": get("/status/201", status=201),
    "a status without a name": get("/status/299", status=299),
    "headers and cookies": get("/headers", "headers"),
    "a length of the application's own": get("/own-length", "12345"),
    "Connection: close": get("/text", headers={"Connection": "close"}),
    "a hint that HTTP/1.1 cannot give": get("/push", "hinted"),
    "background tasks": told("background task in a thread", get("/background", "later")),
    "a background task that fails": get("/failing-background", "later"),
    # Errors.
    "an error": get("/fails", "Internal Server Error", status=500),
    "an HTTPException": get("/teapot", "short and stout", status=418),
    "an error with a handler of its own": get("/unready", "unready", status=503),
    # Static files.
    "a static page": get("/static/", "the index"),
    "a static file": get("/static/style.css", "color"),
    "HEAD of a static file": ask("HEAD", "/static/style.css"),
    "a large static file": get("/static/large.bin", "1048576 bytes"),
    "a static file that is not there": get("/static/none.css", "nothing here", status=404),
    "a static file above its folder": get("/static/../style.css", status=404, clients=("curl",)),
    "a static file that is not modified": get(
        "/static/style.css",
        status=304,
        headers={"If-Modified-Since": "Wed, 01 Jan 2098 00:00:00 GMT"},
    ),
    "POST to a static file": post("/static/style.css", status=405, content=b""),
    # Sessions, cookies, authentication.
    "a session": in_turn(
        get("/session", "{}"),
        post("/login", status=303, form={"name": "Ada"}),
        get("/session", "Ada"),
        post("/logout", "bye", content=b""),
        get("/session", "{}"),
    ),
    "cookies": get("/cookies", "two words", headers={"Cookie": 'a=1; b="two words"; c='}),
    "no authentication": get("/secret", status=403),
    "authentication": get("/secret", "secret of ada", headers=BASIC),
    "authentication of another kind": get(
        "/secret", "expected Basic", status=400, headers={"Authorization": "Bearer x"}
    ),
    # Middleware.
    "BaseHTTPMiddleware": get("/wrapped/text", "Hello"),
    "a stream behind BaseHTTPMiddleware": get("/wrapped/stream", "9\n"),
    "a body behind BaseHTTPMiddleware": post("/wrapped/json", '"got"', json={"a": [1] * 1000}),
    "a background task behind BaseHTTPMiddleware": get("/wrapped/background", "later"),
    "204 behind BaseHTTPMiddleware": get("/wrapped/status/204", status=204),
    "an error behind BaseHTTPMiddleware": get("/wrapped/fails", status=500),
    "HEAD behind BaseHTTPMiddleware": ask("HEAD", "/wrapped/text"),
    "gzip": get("/wrapped/text", headers={"Accept-Encoding": "gzip"}, clients=("httpx", "aiohttp")),
    "a stream in gzip": get(
        "/wrapped/stream", headers={"Accept-Encoding": "gzip"}, clients=("httpx", "aiohttp")
    ),
    "CORS, simple": get("/wrapped/text", headers=ORIGIN),
    "CORS, another origin": get("/wrapped/text", headers={"Origin": "https://evil.example"}),
    "CORS, preflight": ask(
        "OPTIONS",
        "/wrapped/text",
        headers={
            **ORIGIN,
            "Access-Control-Request-Method": "PUT",
            "Access-Control-Request-Headers": "X-Token",
        },
    ),
    "CORS, preflight that is refused": ask(
        "OPTIONS",
        "/wrapped/text",
        status=400,
        headers={**ORIGIN, "Access-Control-Request-Method": "DELETE"},
    ),
    # Endpoints.
    "an endpoint": in_turn(
        get("/thing", "got"),
        ask("PUT", "/thing", "put", content=b"put"),
        ask("DELETE", "/thing", status=204),
        ask("PATCH", "/thing", status=405),
        ask("HEAD", "/thing"),
    ),
    # Clients that go.
    "a client that leaves a stream": leave_a_stream,
    "a client that leaves a stream behind BaseHTTPMiddleware": leave_a_stream_behind_middleware,
    "a client that leaves before the answer": leave_a_poll,
    "a client that resets before the answer": reset_a_poll,
    "a client that leaves in its upload": leave_an_upload,
    "a client that leaves a WebSocket without a word": leave_a_push,
    "many at once": many_at_once,
    # WebSockets.
    "echo": talk("/ws/echo", "é", 1, b"\x00\xff", 1, "", 1, (1000, ""), has="< text é"),
    "a long message": talk("/ws/echo", "x" * 200_000, 1, (1000, ""), has="200000 bytes"),
    "a code and a reason of the client": told(
        "echo over: 4321 so long", talk("/ws/echo", (4321, "so long"), has="closed: 4321")
    ),
    "what a handshake says": talk(
        "/ws/greet?a=1", has="4001 that is all", headers={"Cookie": "a=b", **ORIGIN}
    ),
    "subprotocols": talk("/ws/greet", subprotocols=("one", "two"), has="open: two"),
    "a handshake that is refused": talk("/ws/refuse", has="refused: 403"),
    "a handshake that is denied": talk("/ws/deny", has="refused: 401"),
    "a WebSocket where there is none": talk("/ws/none", has="refused: 403"),
    "a WebSocket at a path of requests": talk("/text", has="refused: 403"),
    "a WebSocketException": talk("/ws/forbid", "x", has="closed: 1008 forbidden"),
    "an error in a WebSocket": talk("/ws/crash", "x"),
    "an error before the handshake": talk("/ws/crash-early", has="refused: 500"),
    "an application that leaves": talk("/ws/leave", has="and gone"),
    "a message behind the close": told(
        "nothing behind the close", talk("/ws/send-behind-close", has="closed: 1001")
    ),
    "authentication of a WebSocket": talk("/ws/secret", headers=BASIC, has="for ada"),
    "no authentication of a WebSocket": talk("/ws/secret", has="refused: 403"),
    "a WebSocketEndpoint": told(
        "counter over: 1000", talk("/ws/counter", "1", 1, "41", 1, (1000, ""), has="text 42")
    ),
    "JSON that is none": talk("/ws/counter", "{", has="closed: 1003"),
    "a request where a WebSocket is": get("/ws/echo", status=404),
    "a room": share_a_room,
}
