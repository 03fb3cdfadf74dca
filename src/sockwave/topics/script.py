"""The module for browsers that speaks `sockwave.1`, as a small ASGI application that serves it."""

import hashlib
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).with_name("page") / "sockwave.js"


class ClientScript:
    """Serves the module at the path where it is mounted; 404 below it."""

    def __init__(self) -> None:
        self._body = SCRIPT.read_bytes()
        self._tag = f'"{hashlib.sha256(self._body).hexdigest()[:32]}"'.encode()

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            while True:
                kind = (await receive())["type"]
                await send({"type": f"{kind}.complete"})
                if kind == "lifespan.shutdown":
                    return
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})
            return
        status, headers, body = self._answer(scope)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _answer(
        self, scope: MutableMapping[str, Any]
    ) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """Return status, headers and body."""
        if scope["path"] != scope["root_path"]:
            return 404, [(b"content-length", b"0")], b""
        if scope["method"] not in ("GET", "HEAD"):
            return 405, [(b"allow", b"GET, HEAD"), (b"content-length", b"0")], b""
        common = [(b"etag", self._tag), (b"cache-control", b"no-cache")]
        asked = next((value for name, value in scope["headers"] if name == b"if-none-match"), b"")
        # RFC 9110, 13.1.2: a weak comparison.
        tags = {one.strip().removeprefix(b"W/") for one in asked.split(b",")}
        if self._tag in tags or b"*" in tags:
            return 304, common, b""
        described = [
            (b"content-type", b"text/javascript; charset=utf-8"),
            (b"content-length", str(len(self._body)).encode()),
            (b"x-content-type-options", b"nosniff"),
        ]
        return 200, [*common, *described], b"" if scope["method"] == "HEAD" else self._body
