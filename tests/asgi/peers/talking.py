"""How a WebSocket is talked to, by each of two clients."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import aiohttp
import websockets
from asking import PATIENCE_S
from transcript import keep_body, keep_headers, mask

#: Of the head of a handshake these are kept: what extensions there are is the server's choice.
HANDSHAKE_HEADERS = ("sec-websocket-protocol", "set-cookie", "x-")


class EndedError(Exception):
    """The server has closed the WebSocket."""


class RefusedError(Exception):
    """The server has refused the handshake; its argument is what it answered."""


class Talker(Protocol):
    """A WebSocket of a client."""

    subprotocol: str | None
    headers: list[tuple[str, str]]

    async def send(self, message: str | bytes) -> None:
        """Send a message."""

    async def receive(self) -> str | bytes:
        """Receive a message; raises EndedError."""

    async def close(self, code: int, reason: str) -> None:
        """Close."""

    async def find_end(self) -> tuple[int | None, str]:
        """Give the code and the reason of the end."""


@dataclass(frozen=True)
class Talk:
    """A WebSocket from its handshake to its end.

    Steps: a str or bytes is sent, a number is how many messages are received, a tuple is a code and
    a reason with which the client closes; `has` is what has to be told on any server.
    """

    path: str
    steps: tuple[str | bytes | int | tuple[int, str], ...] = ()
    has: tuple[str, ...] = ()
    headers: dict[str, str] = field(default_factory=dict)
    subprotocols: tuple[str, ...] = ()

    async def __call__(self, base: str) -> dict[str, Any]:
        found = {}
        for name, connect in TALKERS.items():
            lines = await asyncio.wait_for(self._talk(connect, base), PATIENCE_S)
            for part in self.has:
                assert any(part in line for line in lines), f"{name}: {part!r} in {lines}"
            found[name] = lines
        return found

    async def _talk(self, connect: Callable[..., Any], base: str) -> list[str]:
        url = base.replace("http", "ws", 1) + self.path
        try:
            talker = await connect(url, self.headers, self.subprotocols)
        except RefusedError as refused:
            return list(refused.args)
        kept = [pair for pair in talker.headers if pair[0].lower().startswith(HANDSHAKE_HEADERS)]
        lines = [f"open: {talker.subprotocol}", *keep_headers(kept)]
        try:
            for step in self.steps:
                if isinstance(step, int):
                    lines += [f"< {show(await talker.receive())}" for _ in range(step)]
                elif isinstance(step, tuple):
                    await talker.close(*step)
                    break
                else:
                    await talker.send(step)
            else:
                while True:
                    lines.append(f"< {show(await talker.receive())}")
        except EndedError:
            pass
        code, reason = await talker.find_end()
        lines.append(f"closed: {code} {reason}")
        return lines


def talk(path: str, *steps: Any, has: str | tuple[str, ...] = (), **rest: Any) -> Talk:
    """Give the question of a WebSocket; unless a step closes, the server has to."""
    return Talk(path, steps, has=(has,) if isinstance(has, str) else has, **rest)


def show(message: str | bytes) -> str:
    """Tell text from bytes."""
    data = message.encode() if isinstance(message, str) else message
    return mask(f"{'text' if isinstance(message, str) else 'bytes'} {keep_body(data)}")


class WebSocketsTalker:
    """A WebSocket of `websockets`."""

    def __init__(self, connection: websockets.ClientConnection) -> None:
        self.connection = connection
        assert connection.response
        self.subprotocol = connection.subprotocol
        self.headers = list(connection.response.headers.raw_items())

    @classmethod
    async def connect(
        cls, url: str, headers: dict[str, str], subprotocols: tuple[str, ...]
    ) -> "WebSocketsTalker":
        try:
            connection = await websockets.connect(
                url,
                compression=None,
                additional_headers=headers,
                subprotocols=subprotocols or None,  # type: ignore[arg-type]
                ping_interval=None,
                proxy=None,
            )
        except websockets.InvalidStatus as error:
            response = error.response
            raise RefusedError(
                f"refused: {response.status_code}",
                *keep_headers(response.headers.raw_items()),
                f"body: {keep_body(response.body)}",
            ) from None
        return cls(connection)

    async def send(self, message: str | bytes) -> None:
        try:
            await self.connection.send(message)
        except websockets.ConnectionClosed:
            raise EndedError from None

    async def receive(self) -> str | bytes:
        try:
            return await self.connection.recv()
        except websockets.ConnectionClosed:
            raise EndedError from None

    async def close(self, code: int, reason: str) -> None:
        await self.connection.close(code, reason)

    async def find_end(self) -> tuple[int | None, str]:
        await self.connection.wait_closed()
        return self.connection.close_code, self.connection.close_reason or ""


class AiohttpTalker:
    """A WebSocket of aiohttp, which does not give the reason of an end that it has not read."""

    def __init__(self, session: aiohttp.ClientSession, socket: Any) -> None:
        self.session = session
        self.socket = socket
        self.subprotocol = socket.protocol
        self.headers = list(socket._response.headers.items())
        self.reason = ""

    @classmethod
    async def connect(
        cls, url: str, headers: dict[str, str], subprotocols: tuple[str, ...]
    ) -> "AiohttpTalker":
        session = aiohttp.ClientSession()
        try:
            socket = await session.ws_connect(url, headers=headers, protocols=subprotocols)
        except aiohttp.WSServerHandshakeError as error:
            await session.close()
            raise RefusedError(f"refused: {error.status}") from None
        except BaseException:
            await session.close()
            raise
        return cls(session, socket)

    async def send(self, message: str | bytes) -> None:
        try:
            if isinstance(message, str):
                await self.socket.send_str(message)
            else:
                await self.socket.send_bytes(message)
        except ConnectionError:
            raise EndedError from None

    async def receive(self) -> str | bytes:
        message = await self.socket.receive()
        if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            self.reason = message.extra or ""
            raise EndedError
        data: str | bytes = message.data
        return data

    async def close(self, code: int, reason: str) -> None:
        await self.socket.close(code=code, message=reason.encode())

    async def find_end(self) -> tuple[int | None, str]:
        if not self.socket.closed:
            await self.receive_rest()
        await self.session.close()
        return self.socket.close_code, self.reason

    async def receive_rest(self) -> None:
        """Read until the end."""
        try:
            while True:
                await self.receive()
        except EndedError:
            pass


TALKERS: dict[str, Callable[..., Any]] = {
    "websockets": WebSocketsTalker.connect,
    "aiohttp": AiohttpTalker.connect,
}
