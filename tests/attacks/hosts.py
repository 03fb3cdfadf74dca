"""Applications behind the HTTP front that do what real ones do, some of it unwisely."""

import asyncio
import contextlib
import json
import random
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sockwave
from sockwave.cli.chat import create_chat
from sockwave.http import RequestHead

# Where everybody gets back what they send, whatever the application does elsewhere.
AT_HOME = ("/", "/bystander")


def look_at(head: RequestHead) -> None:
    """Read all that there is to read of a request, and write it down as a log would."""
    for name, value in head.headers.items():
        assert isinstance(head.headers.get_all(name), list), value
    known = (head.method, head.target, head.path, head.query, head.origin, head.http_version)
    f"{known} {dict(head.params)} {head.cookies} {head.headers} {head}".encode()


def curious(**options: Any) -> sockwave.Server:
    """Look at everything that a peer has sent before it is let in, or answered."""

    async def authorize(handshake: sockwave.Handshake) -> None:
        look_at(handshake.request)
        handshake.add_header("X-Path", urllib.parse.quote(handshake.request.path))

    server = sockwave.create_server(authorize=authorize, **options)

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        look_at(conn.request)
        conn.on("message", conn.send)

    @server.on("request")
    async def requested(request: sockwave.Request, response: sockwave.Response) -> None:
        look_at(request)
        response.end(f"{len(await request.body())}\n")

    return server


def recording(**options: Any) -> sockwave.Server:
    """Remember every request and message; GET /heard tells them, once.

    A handshake is let in half a second late, and not at all where its path is /refused.
    """

    async def authorize(handshake: sockwave.Handshake) -> None:
        if handshake.request.path in AT_HOME:
            return
        heard.append(["handshake", handshake.request.target, ""])
        await asyncio.sleep(0.05)
        if handshake.request.path == "/refused":
            handshake.refuse()

    server = sockwave.create_server(authorize=authorize, **options)
    heard: list[list[str]] = []

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        @conn.on("message")
        def message(message: str) -> None:
            if conn.request.path not in AT_HOME:
                heard.append(["message", message, ""])
            conn.send(message)

    @server.on("request")
    async def requested(request: sockwave.Request, response: sockwave.Response) -> None:
        if request.path == "/heard":
            told, heard[:] = heard.copy(), []
            response.end(json.dumps(told))
            return
        heard.append([request.method, request.target, ""])
        mine = heard[-1]
        body = await request.body()
        mine[2] = body.decode("latin-1")
        response.end(body)

    return server


class Careless:
    """What an application does with text that it has from its peer, without a look at it."""

    def __init__(self, request: RequestHead) -> None:
        said = urllib.parse.parse_qs(request.query, errors="surrogateescape")
        self.place = said.get("place", [""])[0]
        self.text = said.get("text", [""])[0]

    def respond(self, response: sockwave.Response) -> None:
        """Put the text somewhere into a response."""
        match self.place:
            case "header name":
                response.write_head(200, {f"X-{self.text}": "a"})
            case "header value":
                response.write_head(200, {"X-A": self.text})
            case "header pairs":
                response.write_head(200, [("X-A", "b"), ("X-A", self.text)])
            case "reason":
                response.write_head(200, None, self.text)
            case "location":
                response.write_head(302, {"Location": self.text})
            case "connection":
                response.write_head(200, {"Connection": self.text})
            case "length":
                response.write_head(200, {"Content-Length": self.text})
            case "refused header":
                raise sockwave.Refused(403, "no", {"X-A": self.text})
            case "file header":
                response.send_file(__file__, {"X-A": self.text})
                return
        response.end("let through")

    def decide(self, handshake: sockwave.Handshake) -> None:
        """Put the text somewhere into the answer to a handshake."""
        match self.place:
            case "subprotocol":
                handshake.subprotocol = self.text
            case "handshake name":
                handshake.add_header(f"X-{self.text}", "a")
            case "handshake value":
                handshake.add_header("X-A", self.text)
            case "refusal":
                handshake.refuse(403, "no", {"X-A": self.text})


def careless(**options: Any) -> sockwave.Server:
    """Give the peer's text to the server, in whatever place the peer names; count what raises.

    GET / tells how often and what, once.
    """

    def choose(offered: list[str], request: RequestHead) -> str | None:
        wish = Careless(request)
        return wish.text if wish.place == "choice" else None

    server = sockwave.create_server(
        subprotocol=choose,
        authorize=lambda handshake: Careless(handshake.request).decide(handshake),
        **options,
    )
    raised: list[str] = []
    server.on("error", lambda error: raised.append(type(error).__name__))

    @server.on("request")
    def requested(request: sockwave.Request, response: sockwave.Response) -> None:
        if request.target == "/":
            told, raised[:] = raised.copy(), []
            response.end(json.dumps(told))
        else:
            Careless(request).respond(response)

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        wish = Careless(conn.request)

        @conn.on("message")
        def message(message: str) -> None:
            if wish.place == "close reason":
                conn.close(1000, wish.text)
            elif wish.place == "message":
                conn.send(wish.text)
            elif wish.place == "ping":
                conn.ping(wish.text)
            else:
                conn.send(message)

    return server


def tagged(**options: Any) -> sockwave.Server:
    """Answer everybody with the tag that they sent, late and by way of cancelled awaits."""
    server = sockwave.create_server(**options)
    chance = random.Random(1)

    async def dawdle() -> None:
        for _ in range(chance.randrange(3)):
            try:
                async with asyncio.timeout(chance.choice([0, 0.001])):
                    await asyncio.sleep(0.002)
            except TimeoutError:
                pass

    @server.on("request")
    async def requested(request: sockwave.Request, response: sockwave.Response) -> None:
        await dawdle()
        body = await request.body()
        await dawdle()
        response.end(request.target.encode() + b" " + body)

    async def converse(conn: sockwave.Connection) -> None:
        while True:
            try:
                message = await conn.receive(timeout=chance.choice([0, 0.001, 1]))
            except TimeoutError:
                await asyncio.sleep(0)
                continue
            if message == "ping":
                # One of two is given up before its pong comes.
                lost, kept = conn.ping("lost"), conn.ping("kept")
                lost.cancel()
                message = "pinged" if await kept > 0 else "too fast"
            await conn.send(message)

    server.handle_with(converse)
    return server


ACTIONS = ["close", "abort", "raise", "send", "close and abort", "abort others"]
MOMENTS = ["connection", "message", "ping", "pong", "drain", "close", "readyStateChange"]


def touchy(**options: Any) -> sockwave.Server:
    """Do in the listener of one event what the target says: "/touch?at=message&do=abort".

    What raises is counted; GET / tells how often and what, once.
    """
    server = sockwave.create_server(**options)
    raised: list[str] = []
    server.on("error", lambda error: raised.append(str(error)))

    def act(conn: sockwave.Connection, action: str) -> None:
        for word in action.split(" and "):
            if word == "raise":
                raise RuntimeError("on purpose")
            if word == "send":
                with contextlib.suppress(sockwave.ConnectionClosed):
                    for _ in range(3):
                        conn.send("from within")
            elif word == "abort others":
                for other in list(server.connections):
                    if other is not conn and other.request.path not in AT_HOME:
                        other.abort()
            else:
                getattr(conn, word)()

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        if conn.request.path in AT_HOME:
            conn.on("message", conn.send)
            return
        moment, action = conn.request.params["at"], conn.request.params["do"]
        conn.on("message", lambda message: fill(conn) if message == "fill" else None)
        if moment == "connection":
            act(conn, action)
        else:
            conn.once(moment, lambda: act(conn, action))

    def fill(conn: sockwave.Connection) -> None:
        """Send more than the kernel takes, so that there is something to drain."""
        while conn.backlog_size < 300_000:
            conn.send(b"x" * 100_000)
        conn.send("filled")

    @server.on("request")
    def requested(request: sockwave.Request, response: sockwave.Response) -> None:
        told, raised[:] = raised.copy(), []
        response.end(json.dumps(told))

    return server


def flooding(**options: Any) -> sockwave.Server:
    """Broadcast 64 KiB as often as a message says; bystanders and who asks are not in it."""
    server = sockwave.create_server(**options)
    block = b"x" * 65536

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        if conn.request.path in AT_HOME:
            conn.on("message", conn.send)
            return

        @conn.on("message")
        async def message(message: str) -> None:
            for _ in range(int(message)):
                for other in list(server.connections):
                    if other.request.path == "/reader":
                        # Who has just been given up may still be on its way out.
                        with contextlib.suppress(sockwave.ConnectionClosed):
                            other.send(block)
                await asyncio.sleep(0)
            conn.send(f"{max((o.backlog_size for o in server.connections), default=0)}")

    return server


def hesitant(**options: Any) -> sockwave.Server:
    """Take no message of anybody until GET /go; then tell how many came and what they held.

    Also a place to stop in any state: /slow does not answer before /go either, /large answers
    with 20 MB, and a handshake at /undecided is never decided.
    """

    async def authorize(handshake: sockwave.Handshake) -> None:
        if handshake.request.path == "/undecided":
            await asyncio.sleep(3600)

    server = sockwave.create_server(authorize=authorize, **options)
    go = asyncio.Event()
    tasks: set[asyncio.Future[None]] = set()

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        match conn.request.path:
            case "/hesitant" | "/paused":
                tasks.add(task := asyncio.ensure_future(listen(conn)))
                task.add_done_callback(tasks.discard)
            case "/closed":
                conn.close(1000)
            case "/large":
                for _ in range(200):
                    conn.send(b"x" * 100_000)
            case _:
                conn.on("message", conn.send)

    async def listen(conn: sockwave.Connection) -> None:
        count = 0
        async for message in conn:
            if not count:
                await go.wait()
            if message == "end":
                conn.send(f"{count}")
                continue
            if conn.request.path == "/hesitant":
                assert message == count.to_bytes(4, "big") * (len(message) // 4)
            count += 1

    @server.on("request")
    async def requested(request: sockwave.Request, response: sockwave.Response) -> None:
        match request.path:
            case "/go":
                go.set()
            case "/stop":
                go.clear()
            case "/slow":
                await go.wait()
            case "/large":
                response.end(bytes(20_000_000))
                return
            case "/page":
                response.end(bytes(200_000))
                return
            case "/body":
                await request.body()
        response.end("ok\n")

    return server


def refusing(**options: Any) -> sockwave.Server:
    """Turn peers away: at /refused in the handshake, from 127.0.0.2 before a byte is read."""

    def authorize(handshake: sockwave.Handshake) -> None:
        if handshake.request.path == "/refused":
            handshake.refuse(429, "too many attempts\n", {"Retry-After": "60"})

    server = sockwave.create_server(authorize=authorize, **options)
    server.on("connection", lambda conn: conn.on("message", conn.send))

    @server.on("stream")
    def accepted(stream: sockwave.AcceptedSocket) -> None:
        if stream.remote_address[0] == "127.0.0.2":
            stream.close()

    return server


def logging_all(**options: Any) -> sockwave.Server:
    """Write down what peers send, as applications do."""
    import logging

    log = logging.getLogger("application")
    server = sockwave.create_server(**options)

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        if conn.request.path in AT_HOME:
            conn.on("message", conn.send)
            return
        log.warning("connected: %s %s", conn, conn.request)

        @conn.on("close")
        def closed() -> None:
            try:
                conn.send("too late")
            except sockwave.ConnectionClosed as error:
                log.warning("closed: %s %r", error, conn)

    @server.on("request")
    def requested(request: sockwave.Request, response: sockwave.Response) -> None:
        log.warning("asked: %s %s", request, request.headers)
        response.end("ok\n")

    return server


def filing(folder: str, **options: Any) -> sockwave.Server:
    """Send the file of a folder that the target names, without a look at the name."""
    server = sockwave.create_server(**options)
    server.on("connection", lambda conn: conn.on("message", conn.send))

    @server.on("request")
    def requested(request: sockwave.Request, response: sockwave.Response) -> None:
        name = urllib.parse.unquote(request.path[1:])
        try:
            response.send_file(Path(folder) / name)
        except (OSError, ValueError):
            response.write_head(404)
            response.end("no such file\n")

    return server


def silent(**options: Any) -> sockwave.Server:
    """Answer no request, as an application that has none does."""
    server = sockwave.create_server(**options)
    server.on("connection", lambda conn: conn.on("message", conn.send))
    return server


def chat(**options: Any) -> sockwave.Server:
    """Give out the chat's page; its talk is not under attack here."""
    server = silent(**options)
    for listener in create_chat().listeners("request"):
        server.on("request", listener)
    return server


def every_combination() -> Iterator[tuple[str, str]]:
    """Give each event with each action."""
    for moment in MOMENTS:
        for action in ACTIONS:
            yield moment, action
