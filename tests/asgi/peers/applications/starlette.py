"""Starlette: routing, requests, responses, middleware, sessions, static files, WebSockets."""

import asyncio
import base64
import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.authentication import (
    AuthCredentials,
    AuthenticationBackend,
    AuthenticationError,
    SimpleUser,
    requires,
)
from starlette.background import BackgroundTask, BackgroundTasks
from starlette.endpoints import HTTPEndpoint, WebSocketEndpoint
from starlette.exceptions import HTTPException, WebSocketException
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

FILES = Path(tempfile.mkdtemp(prefix="sockwave-peers-"))
(FILES / "index.html").write_text("<h1>the index</h1>")
(FILES / "large.bin").write_bytes(bytes(range(256)) * 4096)
(FILES / "style.css").write_text("body { color: red }")
(FILES / "404.html").write_text("<h1>nothing here</h1>")

EVENTS: list[str] = []


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
    EVENTS.append("started")
    yield {"database": "db", "counts": []}


# ---- requests


async def text(request: Request) -> Response:
    return PlainTextResponse("Hello, world!")


async def describe(request: Request) -> Response:
    await request.body()
    return JSONResponse(
        {
            "method": request.method,
            "path": request.scope["path"],
            "raw_path": request.scope["raw_path"].decode("latin-1"),
            "root_path": request.scope["root_path"],
            "query": sorted(request.query_params.multi_items()),
            "query_string": request.scope["query_string"].decode("latin-1"),
            "parameters": {name: str(value) for name, value in request.path_params.items()},
            "scheme": request.url.scheme,
            "version": request.scope["http_version"],
            "asgi": request.scope["asgi"]["version"],
            "client": request.client.host if request.client else None,
            "url": str(request.url),
            "base_url": str(request.base_url),
            "url_for": str(request.url_for("user", name="ada")),
            "headers": sorted(
                [name, value]
                for name, value in request.headers.items()
                if name
                not in ("user-agent", "accept", "accept-encoding", "connection", "content-type")
            ),
            "state": request.state.database,
        }
    )


async def read_json(request: Request) -> Response:
    return JSONResponse({"got": await request.json()})


async def read_form(request: Request) -> Response:
    async with request.form() as form:
        found = {}
        for name, value in form.multi_items():
            if isinstance(value, str):
                found[name] = value
            else:
                content = await value.read()
                found[name] = [value.filename, value.content_type, len(content), sum(content)]
        return JSONResponse(found)


async def read_stream(request: Request) -> Response:
    size = total = 0
    async for chunk in request.stream():
        size, total = size + len(chunk), total + sum(chunk)
    return JSONResponse({"size": size, "sum": total})


async def ignore_body(request: Request) -> Response:
    return PlainTextResponse("not read")


# ---- responses


async def stream(request: Request) -> Response:
    async def numbers() -> AsyncIterator[str]:
        for number in range(10):
            yield f"{number}\n"
            await asyncio.sleep(0)

    return StreamingResponse(numbers(), media_type="text/plain")


def stream_in_thread(request: Request) -> Response:
    def numbers() -> Iterator[bytes]:
        for number in range(10):
            yield b"%d\n" % number

    return StreamingResponse(numbers(), media_type="text/plain")


async def endless(request: Request) -> Response:
    async def ticks() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"tick\n" * 100
                await asyncio.sleep(0.01)
        finally:
            EVENTS.append("endless stream over")

    return StreamingResponse(ticks())


RELEASED = asyncio.Event()


async def late(request: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        await RELEASED.wait()
        yield b"at last"

    return StreamingResponse(parts(), headers={"X-Late": "yes"})


async def release(request: Request) -> Response:
    RELEASED.set()
    return PlainTextResponse("released")


async def poll(request: Request) -> Response:
    end = request.query_params["end"]
    EVENTS.append(f"poll begun: {end}")
    for _ in range(200):
        if await request.is_disconnected():
            EVENTS.append(f"poll over: {end}")
            break
        await asyncio.sleep(0.01)
    else:
        EVENTS.append(f"poll given up: {end}")
    return PlainTextResponse("nobody reads this")


async def upload_slowly(request: Request) -> Response:
    try:
        async for chunk in request.stream():
            if chunk:
                EVENTS.append(f"upload begun: {len(chunk)}")  # noqa: PERF401  (told at once)
    except ClientDisconnect:
        EVENTS.append("upload over")
    return PlainTextResponse("done")


async def large(request: Request) -> Response:
    return Response(bytes(range(256)) * int(request.query_params["times"]))


async def file(request: Request) -> Response:
    return FileResponse(FILES / "large.bin", filename="größe.bin")


async def redirect(request: Request) -> Response:
    return RedirectResponse("/text", status_code=303)


async def status(request: Request) -> Response:
    return Response(status_code=int(request.path_params["code"]))


async def many_headers(request: Request) -> Response:
    response = PlainTextResponse("headers", headers={"X-Latin": "caf\xe9", "X-Empty": ""})
    response.set_cookie("first", "1", httponly=True, samesite="strict")
    response.set_cookie("second", "2", max_age=60, path="/text")
    response.delete_cookie("third")
    response.headers.append("Vary", "Accept")
    response.headers.append("Link", "</style.css>; rel=preload")
    return response


async def own_length(request: Request) -> Response:
    return Response(b"12345", headers={"Content-Length": "5", "Content-Type": "text/plain"})


async def background(request: Request) -> Response:
    async def later(event: str) -> None:
        await asyncio.sleep(0.01)
        EVENTS.append(event)

    tasks = BackgroundTasks()
    tasks.add_task(later, "background task")
    tasks.add_task(EVENTS.append, "background task in a thread")
    return PlainTextResponse("later", background=tasks)


async def failing_background(request: Request) -> Response:
    async def later() -> None:
        raise LookupError("in the background")

    return PlainTextResponse("later", background=BackgroundTask(later))


async def events(request: Request) -> Response:
    return JSONResponse(EVENTS)


async def send_push_hint(request: Request) -> Response:
    await request.send_push_promise("/style.css")
    return PlainTextResponse("hinted")


# ---- errors


async def fails(request: Request) -> Response:
    raise ZeroDivisionError("on purpose")


async def fails_midway(request: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        yield b"begun"
        raise ArithmeticError("midway")

    return StreamingResponse(parts())


async def teapot(request: Request) -> Response:
    raise HTTPException(418, "short and stout", headers={"X-Pot": "tea"})


class UnreadyError(Exception):
    pass


async def unready(request: Request) -> Response:
    raise UnreadyError


async def handle_unready(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "unready"}, status_code=503, headers={"Retry-After": "9"})


# ---- sessions, authentication


async def login(request: Request) -> Response:
    form = await request.form()
    request.session["name"] = str(form["name"])
    return RedirectResponse("/session", status_code=303)


async def session(request: Request) -> Response:
    return JSONResponse(dict(request.session))


async def logout(request: Request) -> Response:
    request.session.clear()
    return PlainTextResponse("bye")


async def cookies(request: Request) -> Response:
    return JSONResponse(dict(sorted(request.cookies.items())))


class BasicAuth(AuthenticationBackend):
    async def authenticate(self, conn: Any) -> Any:
        if "Authorization" not in conn.headers:
            return None
        kind, _, value = conn.headers["Authorization"].partition(" ")
        if kind.lower() != "basic":
            raise AuthenticationError("expected Basic")
        name, _, _ = base64.b64decode(value).decode().partition(":")
        return AuthCredentials(["authenticated"]), SimpleUser(name)


@requires("authenticated")
async def secret(request: Request) -> Response:
    return PlainTextResponse(f"secret of {request.user.display_name}")


# ---- middleware


class Timing(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: Any) -> Response:
        request.state.seen = True
        response: Response = await call_next(request)
        response.headers["X-Wrapped"] = "yes"
        return response


# ---- endpoints


class Thing(HTTPEndpoint):
    async def get(self, request: Request) -> Response:
        return PlainTextResponse("got")

    async def put(self, request: Request) -> Response:
        return PlainTextResponse(await request.body())

    async def delete(self, request: Request) -> Response:
        return Response(status_code=204)


# ---- WebSockets

ROOMS: dict[str, set[WebSocket]] = {}


async def room(websocket: WebSocket) -> None:
    members = ROOMS.setdefault(websocket.path_params["room"], set())
    await websocket.accept()
    members.add(websocket)
    await websocket.send_text(f"{len(members)} here")
    try:
        async for message in websocket.iter_text():
            for member in members:
                await member.send_text(message)
    finally:
        members.discard(websocket)


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    while (message := await websocket.receive())["type"] == "websocket.receive":
        if message.get("text") is not None:
            await websocket.send_text(message["text"])
        else:
            await websocket.send_bytes(message["bytes"])
    EVENTS.append(f"echo over: {message['code']} {message.get('reason')}")


async def greet(websocket: WebSocket) -> None:
    wanted = websocket.scope["subprotocols"]
    await websocket.accept(
        subprotocol=wanted[-1] if wanted else None, headers=[(b"x-accepted", b"yes")]
    )
    await websocket.send_json(
        {
            "path": websocket.scope["path"],
            "query": dict(websocket.query_params),
            "scheme": websocket.url.scheme,
            "subprotocols": wanted,
            "cookies": dict(websocket.cookies),
            "state": websocket.state.database,
            "origin": websocket.headers.get("origin"),
        }
    )
    await websocket.close(4001, "that is all")


async def refuse(websocket: WebSocket) -> None:
    await websocket.close(4003)


async def deny(websocket: WebSocket) -> None:
    response = JSONResponse({"why": "no token"}, status_code=401, headers={"X-Denied": "yes"})
    await websocket.send_denial_response(response)


async def forbid(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.receive_text()
    raise WebSocketException(1008, "forbidden")


async def crash(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.receive_text()
    raise OverflowError("in a WebSocket")


async def crash_early(websocket: WebSocket) -> None:
    raise OverflowError("before it is accepted")


async def leave(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("and gone")


async def send_behind_close(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close(1001)
    try:
        await websocket.send_text("too late")
    except Exception:
        EVENTS.append("nothing behind the close")


async def push(websocket: WebSocket) -> None:
    await websocket.accept()
    try:
        while True:
            await websocket.send_bytes(bytes(1000))
            await asyncio.sleep(0.001)
    except WebSocketDisconnect:
        EVENTS.append("push over")


@requires("authenticated")
async def secret_talk(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(f"for {websocket.user.display_name}")
    await websocket.close()


class Counter(WebSocketEndpoint):
    encoding = "json"

    async def on_receive(self, websocket: WebSocket, data: Any) -> None:
        await websocket.send_json(data + 1)

    async def on_disconnect(self, websocket: WebSocket, close_code: int) -> None:
        EVENTS.append(f"counter over: {close_code}")


ALL_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

wrapped = Starlette(
    routes=[
        Route("/text", text),
        Route("/stream", stream),
        Route("/endless", endless),
        Route("/fails", fails),
        Route("/json", read_json, methods=["POST"]),
        Route("/background", background),
        Route("/status/{code:int}", status),
    ],
    middleware=[
        Middleware(Timing),
        Middleware(GZipMiddleware, minimum_size=10),
        Middleware(
            CORSMiddleware,
            allow_origins=["https://example.org"],
            allow_methods=["GET", "PUT"],
            allow_headers=["X-Token"],
            allow_credentials=True,
        ),
    ],
)

app = Starlette(
    lifespan=lifespan,
    routes=[
        Route("/", lambda request: HTMLResponse("<p>front</p>")),
        Route("/text", text),
        Route("/describe", describe, methods=ALL_METHODS),
        Route("/users/{name}", describe, name="user"),
        Route("/items/{number:int}", describe),
        Route("/numbers/{number:float}", describe),
        Route("/rest/{rest:path}", describe),
        Route("/json", read_json, methods=["POST"]),
        Route("/form", read_form, methods=["POST"]),
        Route("/body", read_stream, methods=["POST", "PUT"]),
        Route("/ignore", ignore_body, methods=["POST"]),
        Route("/stream", stream),
        Route("/stream-in-thread", stream_in_thread),
        Route("/endless", endless),
        Route("/late", late),
        Route("/release", release),
        Route("/poll", poll),
        Route("/upload-slowly", upload_slowly, methods=["POST"]),
        Route("/large", large),
        Route("/file", file),
        Route("/redirect", redirect),
        Route("/slash/", text),
        Route("/status/{code:int}", status),
        Route("/headers", many_headers),
        Route("/own-length", own_length),
        Route("/background", background),
        Route("/failing-background", failing_background),
        Route("/events", events),
        Route("/push", send_push_hint),
        Route("/fails", fails),
        Route("/fails-midway", fails_midway),
        Route("/teapot", teapot),
        Route("/unready", unready),
        Route("/login", login, methods=["POST"]),
        Route("/session", session),
        Route("/logout", logout, methods=["POST"]),
        Route("/cookies", cookies),
        Route("/secret", secret),
        Route("/thing", Thing),
        Mount("/static", StaticFiles(directory=FILES, html=True)),
        Mount("/wrapped", wrapped),
        Mount("/sub", routes=[Route("/describe/{name}", describe)]),
        WebSocketRoute("/ws/room/{room}", room),
        WebSocketRoute("/ws/echo", echo),
        WebSocketRoute("/ws/greet", greet),
        WebSocketRoute("/ws/refuse", refuse),
        WebSocketRoute("/ws/deny", deny),
        WebSocketRoute("/ws/forbid", forbid),
        WebSocketRoute("/ws/crash", crash),
        WebSocketRoute("/ws/crash-early", crash_early),
        WebSocketRoute("/ws/leave", leave),
        WebSocketRoute("/ws/send-behind-close", send_behind_close),
        WebSocketRoute("/ws/push", push),
        WebSocketRoute("/ws/secret", secret_talk),
        WebSocketRoute("/ws/counter", Counter),
    ],
    middleware=[
        Middleware(SessionMiddleware, secret_key="a secret"),
        Middleware(AuthenticationMiddleware, backend=BasicAuth()),
    ],
    exception_handlers={UnreadyError: handle_unready},
)
