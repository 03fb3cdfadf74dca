"""One call of an application for a WebSocket: ASGI's WebSocket Connection Format 2.4."""

import asyncio
import enum
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from sockwave.asgi.application import Application, Message
from sockwave.asgi.errors import without_disconnects as without_our_disconnects
from sockwave.asgi.messages import read_bytes, read_head, read_pairs, refuse_message
from sockwave.asgi.scope import make_websocket_scope
from sockwave.close import CloseCode
from sockwave.core.asgi.waiting import Waiting
from sockwave.core.http.request_head import RequestHead
from sockwave.core.http.response_head import format_now, has_content
from sockwave.core.session.connection import Connection
from sockwave.errors import (
    ClientDisconnected,
    ConnectionClosed,
    Refused,
    SockwaveError,
    without_disconnects,
)
from sockwave.handshake import check_chosen, read_subprotocols
from sockwave.handshake.hook import HOP_HEADERS
from sockwave.http.serialize import serialize_head
from sockwave.log import escape

#: Called with what the application has raised, and its connection.
Report = Callable[[BaseException, Connection | None], None]

Pairs = tuple[tuple[str, str], ...]


class Opening(Protocol):
    """The opening handshake that an application decides about; see `runtime.opening`."""

    head: RequestHead
    connection: Connection
    subprotocol: str | None

    def accept(self, headers: Pairs) -> None:
        """Answer with 101, and with these headers."""

    def refuse(self, refused: Refused, hook: object = None) -> None:
        """Answer with an error status; `hook` is the application's callable."""

    def fail(self, error: BaseException, connection: Connection | None) -> None:
        """Answer with 500, and report an error of the application."""

    def begin_answer(self, status: int, hook: object) -> None:
        """Let the application answer by its own response, which it writes to the transport."""

    def write(self, data: bytes) -> Awaitable[None]:
        """Write a part of that response; the awaitable is done under the high-water mark."""

    def end_answer(self) -> None:
        """Close the connection behind that response."""


class Phase(enum.Enum):
    """What the application has decided."""

    DECIDING = enum.auto()
    ACCEPTED = enum.auto()
    DENYING = enum.auto()  #: a response in place of the handshake has been begun
    CLOSED = enum.auto()  #: by the application


class WebSocketCall:
    """An opening handshake and its connection, as an application sees them.

    Nothing cancels the application: the end is told by `websocket.disconnect`, and by
    ClientDisconnected that `send` raises.
    """

    __slots__ = (
        "_application",
        "_connection",
        "_denial",
        "_headers",
        "_is_accepted",
        "_is_answered",
        "_is_begun",
        "_is_chunked",
        "_opening",
        "_phase",
        "_report",
        "_waiting",
    )

    def __init__(
        self, application: Application, opening: Opening, headers: Pairs, report: Report
    ) -> None:
        self._application = application
        self._opening = opening
        self._connection = opening.connection
        # What hooks have added to the answer.
        self._headers = headers
        self._report = report
        self._phase = Phase.DECIDING
        # Whether `connect` has been given, and whether the handshake is over without the
        # application: its client has gone, or the server has refused.
        self._is_begun = False
        self._is_answered = False
        self._is_accepted = False
        # The head of a denial that waits for its first part, and whether its body is in chunks.
        self._denial: tuple[int, list[tuple[str, str]]] | None = None
        self._is_chunked = False
        self._waiting = Waiting()

    async def run(self) -> None:
        """Call the application, and see to it that the handshake is answered."""
        connection = self._connection
        scope = make_websocket_scope(
            self._application,
            self._opening.head,
            is_secure=connection.is_secure,
            client=connection.remote_address,
            server=connection.local_address,
            tls=connection.tls,
            connection=connection,
        )
        try:
            await self._application.call(scope, self.receive, self.send)
        except (Exception, BaseExceptionGroup) as error:
            self._failed(error)
        else:
            self._returned()

    def cancelled(self) -> None:
        """End a connection whose application's task was cancelled, before its first step even."""
        self._give_up(SockwaveError("the application was cancelled"), is_reported=False)

    def ended(self) -> None:
        """Take note that the handshake is over: the client has gone, or the server has refused."""
        self._is_answered = True
        self._waiting.wake()

    def _returned(self) -> None:
        if self._phase is Phase.ACCEPTED:
            self._connection.close()
        elif self._phase is not Phase.CLOSED and not self._is_answered:
            what = escape(self._opening.head.path)
            reason = "its application returned without accepting or refusing it"
            self._give_up(SockwaveError(f"no answer to the handshake for {what}: {reason}"))

    def _failed(self, error: BaseException) -> None:
        """Close with 1011 or answer with 500 for an application that has raised, and report it."""
        if self._is_answered or self._connection._has_left():
            rest = without_disconnects(error)
            rest = None if rest is None else without_our_disconnects(rest)
            if rest is None:
                self._phase = Phase.CLOSED
                return
            error = rest
        self._give_up(error)

    def _give_up(self, error: BaseException, *, is_reported: bool = True) -> None:
        """End a handshake or a connection whose application has ended by an error."""
        phase, self._phase = self._phase, Phase.CLOSED
        is_undecided = phase is Phase.DECIDING or self._denial is not None
        if is_undecided and not self._is_answered:
            self._is_answered = True
            if isinstance(error, Refused):
                self._opening.refuse(error, self._application.call)
            elif is_reported:
                self._opening.fail(error, self._connection)
            else:
                self._opening.refuse(Refused(500, "internal server error\n"))
            return
        if is_reported:
            self._report(error, self._connection)
        if phase is Phase.ACCEPTED:
            self._connection.close(CloseCode.INTERNAL_ERROR)
        elif phase is Phase.DENYING and not self._is_answered:
            self._connection.abort()  # else the client would take a part of the answer for it all

    # ---- called by the application: what it receives

    async def receive(self) -> Message:
        """Return `websocket.connect`, then messages, then `websocket.disconnect`."""
        if not self._is_begun:
            self._is_begun = True
            return {"type": "websocket.connect"}
        while not (self._is_accepted or self._is_answered):
            await self._waiting.wait()
        if not self._is_accepted:
            return await self._disconnect(1006, "")
        try:
            message = await self._connection.receive()
        except ConnectionClosed as closed:
            return await self._disconnect(int(closed.code), closed.reason)
        kind = "text" if isinstance(message, str) else "bytes"
        return {"type": "websocket.receive", kind: message}

    async def _disconnect(self, code: int, reason: str) -> Message:
        if self._waiting.is_pressed():
            await asyncio.sleep(0)
        return {"type": "websocket.disconnect", "code": code, "reason": reason}

    # ---- what it sends

    async def send(self, message: Message) -> None:
        """Take a message of the application; waits while the client is slow.

        Raises ClientDisconnected if the client has gone, RuntimeError for a message that may not
        come now, TypeError or ValueError for one that cannot be sent as it is.
        """
        kind = message["type"]
        if self._is_answered and self._phase in (Phase.DECIDING, Phase.DENYING):
            raise ClientDisconnected("the client has gone")
        take = _TAKERS.get((self._phase, kind))
        if take is None:
            raise refuse_message(kind, *(name for phase, name in _TAKERS if phase is self._phase))
        await take(self, message)

    async def _take_accept(self, message: Message) -> None:
        opening = self._opening
        subprotocol = message.get("subprotocol")
        if subprotocol is not None:
            check_chosen(subprotocol, read_subprotocols(opening.head))
        headers = read_accept_headers(message)
        if subprotocol is not None:
            opening.subprotocol = subprotocol
        self._phase = Phase.ACCEPTED
        self._is_accepted = True
        # Before the connection opens: messages may come with the handshake.
        self._connection._expect_handler()
        opening.accept((*self._headers, *headers))
        del self._opening  # the connection keeps what is needed of the handshake
        self._waiting.wake()
        if self._connection._has_left():
            raise ClientDisconnected("the client has gone")

    async def _take_refusal(self, message: Message) -> None:
        self._phase = Phase.CLOSED
        self._is_answered = True
        # The specification: "a HTTP 403 error".
        self._opening.refuse(Refused(403), self._application.call)
        self._waiting.wake()

    async def _take_message(self, message: Message) -> None:
        text, data = message.get("text"), message.get("bytes")
        if (text is None) == (data is None):
            raise ValueError("websocket.send: expected text or bytes, and not both")
        if text is not None and not isinstance(text, str):
            raise TypeError(f"text: expected str, given {type(text).__name__}")
        try:
            await self._connection.send(read_bytes(message, "bytes") if text is None else text)
        except ConnectionClosed as closed:
            raise ClientDisconnected(str(closed)) from closed

    async def _take_close(self, message: Message) -> None:
        code, reason = message.get("code"), message.get("reason")
        self._connection.close(1000 if code is None else code, reason or "")
        self._phase = Phase.CLOSED

    async def _take_denial_start(self, message: Message) -> None:
        self._denial = read_head(message)
        self._phase = Phase.DENYING

    async def _take_denial_body(self, message: Message) -> None:
        body, is_last = read_bytes(message, "body"), not message.get("more_body", False)
        data = b""
        if self._denial is not None:
            (status, pairs), self._denial = self._denial, None
            self._is_chunked = not is_last and has_content(status)
            length = len(body) if is_last and has_content(status) else None
            data = serialize_denial(status, pairs, length, is_chunked=self._is_chunked)
            self._opening.begin_answer(status, self._application.call)
            if not has_content(status):
                body = b""
        if self._is_chunked:
            data += b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            data += b"0\r\n\r\n" if is_last else b""
        elif is_last:
            data += body
        drained = self._opening.write(data)
        if is_last:
            self._phase = Phase.CLOSED
            self._is_answered = True
            self._opening.end_answer()
            self._waiting.wake()
        else:
            await drained


def read_accept_headers(message: Message) -> Pairs:
    """Return the headers that an application adds to the 101 response.

    The connection's own fields are left out. Raises ValueError for those of the handshake itself.
    """
    pairs = []
    for name, value in read_pairs(message):
        lowered = name.lower()
        if lowered.startswith(("sec-websocket-", "websocket-")):
            raise ValueError(
                f"header {name}: expected none that belongs to the handshake itself; a subprotocol "
                "is chosen by `subprotocol`"
            )
        if lowered not in HOP_HEADERS:
            pairs.append((name, value))
    return tuple(pairs)


def serialize_denial(
    status: int, pairs: list[tuple[str, str]], length: int | None, *, is_chunked: bool
) -> bytes:
    """Return the head of a response in place of a handshake, which closes its connection."""
    kept = [(name, value) for name, value in pairs if name.lower() != "content-length"]
    if "date" not in {name.lower() for name, _ in kept}:
        kept.append(("Date", format_now()))
    if is_chunked:
        kept.append(("Transfer-Encoding", "chunked"))
    elif length is not None:
        kept.append(("Content-Length", str(length)))
    return serialize_head(status, [*kept, ("Connection", "close")])


#: In which phase which message is taken.
_TAKERS: dict[tuple[Phase, str], Callable[[Any, Message], Awaitable[None]]] = {
    (Phase.DECIDING, "websocket.accept"): WebSocketCall._take_accept,
    (Phase.DECIDING, "websocket.close"): WebSocketCall._take_refusal,
    (Phase.DECIDING, "websocket.http.response.start"): WebSocketCall._take_denial_start,
    (Phase.DENYING, "websocket.http.response.body"): WebSocketCall._take_denial_body,
    (Phase.ACCEPTED, "websocket.send"): WebSocketCall._take_message,
    (Phase.ACCEPTED, "websocket.close"): WebSocketCall._take_close,
}
