"""What looks like a `Connection` on the server of others: see `endpoint`."""

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator, Awaitable
from typing import Any, Self

from sockwave.address import NO_ADDRESS
from sockwave.asgi.application import Message, Receive, Scope, Send
from sockwave.close import CloseCode, encode_close
from sockwave.core.asgi.waiting import Waiting
from sockwave.core.http.request_head import RequestHead
from sockwave.core.session.connection import Connection
from sockwave.errors import ConnectionClosed, InvalidJSON
from sockwave.json_codec import REASON, Decoder, encode_json, make_decoder
from sockwave.limits import Limits
from sockwave.states import ReadyState
from sockwave.timeouts import ConnectionEnd, within

_LIMITS = Limits()

_ids = itertools.count(1)


class ClientConnection:
    """A WebSocket of another server, with the names of a `Connection`, as far as ASGI has them.

    One task takes what the client sends, so that the end is seen while the handler is busy; another
    one sends what is queued, as `send` need not be awaited. Both are bounded as on our server.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, subprotocol: str | None) -> None:
        self.id = next(_ids)
        self.version = "rfc6455"
        self.subprotocol = subprotocol
        #: What the router in front has found in the path.
        self.path_params: dict[str, Any] = dict(scope.get("path_params") or {})
        self.request = RequestHead(_serialize_head(scope))
        client, server = scope.get("client"), scope.get("server")
        self.remote_address: Any = NO_ADDRESS if client is None else tuple(client)
        self.local_address: Any = None if server is None else tuple(server)
        self.is_secure = scope.get("scheme") == "wss"
        self.carrier = {"2": "h2", "3": "h3"}.get(scope["http_version"], "http/1.1")
        self.close_code: int | None = None
        self.close_reason: str | None = None
        self.data: dict[Any, Any] = {}
        #: How many bytes wait to be sent.
        self.backlog_size = 0
        self._receive = receive
        self._send = send
        self._inbox: deque[str | bytes] = deque()
        self._outbox: deque[tuple[Message, int, asyncio.Future[None]]] = deque()
        self._changed = Waiting()
        self._is_closing = False
        self._has_ended = False
        self._has_received = False
        self._handling: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return f"<Connection {self.id} {self.version} {self.ready_state.name}>"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(Connection, name):
            raise AttributeError(f"a connection has no {name!r}", name=name, obj=self)
        raise AttributeError(
            f"conn.{name}: expected sockwave's own server, given another one, and ASGI has nothing "
            "that it could stand for",
            name=name,
            obj=self,
        )

    def begin(self, handling: "asyncio.Task[None]") -> None:
        """Begin to receive and to send; `handling` is the handler's task."""
        self._handling = handling
        self._tasks = [asyncio.create_task(self._take()), asyncio.create_task(self._give())]

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""
        return not (self._is_closing or self._has_ended)

    @property
    def ready_state(self) -> ReadyState:
        """CONNECTED while messages can be sent, else CLOSED."""
        return ReadyState.CONNECTED if self.is_open else ReadyState.CLOSED

    async def wait_closed(self) -> None:
        """Wait until the connection has ended; this ends nothing itself.

        The end does not cancel the handler that waits. Once `close` was called, the other server
        has `close_timeout` to tell of the end.
        """
        self._has_received = True  # it is told
        try:
            while not self._has_ended:
                limit = _LIMITS.close_timeout if self._is_closing else None
                await asyncio.wait_for(self._changed.wait(), limit)
        except TimeoutError:
            self._end(1006, "")

    async def finish(self) -> None:
        """Wait until all has been sent, and end."""
        taking, giving = self._tasks
        self._is_closing = True
        self._changed.wake()
        try:
            await asyncio.wait([giving], timeout=_LIMITS.close_timeout)
        finally:
            self._end(1006, "")
            for task in (taking, giving):
                task.cancel()
        await asyncio.gather(taking, giving, return_exceptions=True)

    # ---- what the client sends

    async def _take(self) -> None:
        """Receive messages, as long as there is room for them, until the connection ends."""
        while True:
            message = await self._receive()
            if message["type"] != "websocket.receive":
                break
            text = message.get("text")
            self._inbox.append(message["bytes"] if text is None else text)
            self._changed.wake()
            while len(self._inbox) >= _LIMITS.queue_count:
                await self._changed.wait()
        self._end(message.get("code") or 1005, message.get("reason") or "")
        # As on our server: a handler that receives is told, any other one is cancelled.
        if not self._has_received and self._handling is not None:
            self._handling.cancel()

    def _end(self, code: int, reason: str) -> None:
        if self._has_ended:
            return
        self._has_ended = True
        if self.close_code is None:
            self.close_code, self.close_reason = code, reason
        while self._outbox:
            self._settle(*self._outbox.popleft()[1:])
        self._changed.wake()

    async def receive(self, timeout: float | None = None) -> str | bytes:
        """Receive the next message; wait for it at most `timeout` seconds (None: without limit).

        Raises TimeoutError after `timeout`, ConnectionClosed when no message is left and none will
        come.
        """
        self._has_received = True
        if timeout is not None:
            return await within(timeout, self.receive())
        while not self._inbox:
            if self._has_ended:
                raise self._closed_error()
            await self._changed.wait()
        message = self._inbox.popleft()
        self._changed.wake()
        return message

    def __aiter__(self) -> Self:
        """Iterate over the messages until the connection ends."""
        return self

    async def __anext__(self) -> str | bytes:
        try:
            return await self.receive()
        except ConnectionClosed:
            raise StopAsyncIteration from None

    async def json(self, json_type: Any = None) -> AsyncIterator[Any]:
        """Receive messages as JSON: see `Connection.json`. One that is none closes with 1007."""
        decode = make_decoder(json_type)
        while True:
            try:
                value = await self._receive_json(decode)
            except ConnectionClosed:
                return
            yield value

    async def receive_json(self, timeout: float | None = None, *, json_type: Any = None) -> Any:
        """Receive the next message as JSON: see `Connection.receive_json`."""
        receiving = self._receive_json(make_decoder(json_type))
        return await (receiving if timeout is None else within(timeout, receiving))

    async def _receive_json(self, decode: Decoder) -> Any:
        try:
            return decode(await self.receive())
        except InvalidJSON:
            self.close(CloseCode.INVALID_PAYLOAD, REASON)
            raise self._closed_error() from None

    # ---- what is sent to it

    def send(self, message: str | bytes | bytearray | memoryview) -> Awaitable[None]:
        """Send a str (text) or bytes-like (binary) message: see `Connection.send`.

        It is queued at once. The awaitable is done when the server has taken it, and need not be
        awaited; beyond 1 MiB that wait, the connection is closed with 1013.
        """
        if not self.is_open:
            raise self._closed_error()
        if isinstance(message, str):
            try:
                size = len(message.encode())
            except UnicodeEncodeError:
                raise ValueError("message: expected no lone surrogate, given one") from None
            return self._queue({"type": "websocket.send", "text": message}, size)
        if not isinstance(message, (bytes, bytearray, memoryview)):
            raise TypeError(f"message: expected str or bytes-like, given {type(message).__name__}")
        data = bytes(message)
        return self._queue({"type": "websocket.send", "bytes": data}, len(data))

    write = send

    def send_json(self, value: object) -> Awaitable[None]:
        """Send a value as JSON, in a text message: see `Connection.send_json`."""
        return self.send(encode_json(value))

    def _queue(self, message: Message, size: int) -> "asyncio.Future[None]":
        done = asyncio.get_running_loop().create_future()
        most = _LIMITS.max_backlog
        if most is not None and self._outbox and self.backlog_size + size > most:
            done.set_result(None)
            self.close(CloseCode.TRY_AGAIN_LATER, "too slow")
            return done
        self._append(message, size, done)
        return done

    def _append(self, message: Message, size: int, done: "asyncio.Future[None]") -> None:
        self._outbox.append((message, size, done))
        self.backlog_size += size
        self._changed.wake()

    def _settle(self, size: int, done: "asyncio.Future[None]") -> None:
        self.backlog_size -= size
        if not done.done():
            done.set_result(None)

    async def _give(self) -> None:
        """Send what is queued, in order, until the connection is closed."""
        while self._outbox or not self._is_closing:
            if not self._outbox:
                await self._changed.wait()
                continue
            message, size, done = self._outbox[0]
            try:
                await self._send(message)
            except Exception:  # each server has one of its own for a client that has gone
                self._end(1006, "")
                return
            if self._outbox:
                self._outbox.popleft()
                self._settle(size, done)

    def close(self, code: int = 1000, reason: str = "") -> ConnectionEnd:
        """Close the connection behind what is queued; nothing happens when it is closed.

        Returns an awaitable that is done when the connection has ended; it need not be awaited.
        Raises TypeError or ValueError for a code or reason that cannot be sent.
        """
        encode_close(code, reason)
        if self.is_open:
            self._begin_close(int(code), reason)
        return ConnectionEnd(self)

    def _begin_close(self, code: int, reason: str) -> None:
        message = {"type": "websocket.close", "code": code, "reason": reason}
        self._append(message, 0, asyncio.get_running_loop().create_future())
        self._is_closing = True
        self.close_code, self.close_reason = code, reason

    def _closed_error(self) -> ConnectionClosed:
        return ConnectionClosed(self.close_code or 1006, self.close_reason or "")


def _serialize_head(scope: Scope) -> bytes:
    """Return the opening request of a scope as it may have been sent."""
    raw_path = scope.get("raw_path") or scope["path"].encode()
    query = scope.get("query_string", b"")
    target = raw_path.partition(b"?")[0] + (b"?" + query if query else b"")
    lines = [b"GET %b HTTP/1.1" % target.replace(b" ", b"%20")]
    lines += [b"%b: %b" % (bytes(name), bytes(value)) for name, value in scope["headers"]]
    return b"\r\n".join(lines) + b"\r\n\r\n"
