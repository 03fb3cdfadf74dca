"""One request and its response on an HTTP/1.1 connection: RFC 9112, sections 6 and 9.3."""

import asyncio
import contextlib
import weakref
from collections.abc import Awaitable
from typing import Any, Protocol

from sockwave.core.io.transport import Transport
from sockwave.http.body import create_decoder
from sockwave.http.request import Request
from sockwave.http.response import Response
from sockwave.http.semantics import expects_continue, keeps_alive
from sockwave.http.stream import BodyStream
from sockwave.limits import Limits
from sockwave.proxy.forwarded import Client
from sockwave.request_head import RequestHead


class Connection(Protocol):
    """What an exchange happens on."""

    limits: Limits
    loop: asyncio.AbstractEventLoop
    transport: Transport

    def client_of(self, head: RequestHead) -> Client:
        """Whom a request is from; raises Refused where a proxy's word makes no sense."""

    def write(self, data: bytes) -> None:
        """Queue bytes."""

    def drained(self) -> Awaitable[None]:
        """Return what is done when the backlog is under the high-water mark."""

    def is_last(self) -> bool:
        """Tell whether the connection ends with the present exchange."""

    def go_on(self, *, close: bool) -> None:
        """Take note that the response is whole; `close` says that the connection has to end."""

    def resume(self) -> None:
        """Take note that there is room again for more of the body."""

    def expect_body(self) -> None:
        """Begin to count the time that the peer takes for the next bytes of the body."""

    def abort(self) -> None:
        """Drop the connection."""

    def tell_unanswered(self, request: Request, reason: str) -> None:
        """Take note that the application does not answer a request."""

    def hold(self, task: asyncio.Task[Any]) -> None:
        """Keep a task, and cancel it when the connection goes."""


class Exchange:
    """A request whose head has been accepted, what arrives of its body, and its response.

    It is over when the body has arrived and the response is whole. What nobody has begun to read of
    the body when the response ends is dropped as it arrives. Raises Refused for a body that is not
    welcome.

    The response holds the exchange, not the other way round: when the application has let go of it,
    nobody will ever answer.
    """

    __slots__ = (
        "_connection",
        "_continue_owed",
        "_decoder",
        "_response",
        "_stream",
        "_tasks",
        "is_answered",
        "is_begun",
        "loop",
        "request",
        "thread",
    )

    def __init__(self, connection: Connection, head: RequestHead) -> None:
        self.loop = connection.loop
        self.thread = connection.transport.engine.thread
        self._connection = connection
        self._decoder = create_decoder(head, connection.limits)
        # Whether the peer holds back its body until it is told to go on.
        self._continue_owed = expects_continue(head) and self._decoder is not None
        self._stream = BodyStream(None if self._decoder is None else self)
        self.request = Request(head, self._stream, connection.client_of(head))
        #: Whether the head of the answer has left.
        self.is_begun = False
        #: Whether the answer is whole, or will never be.
        self.is_answered = False
        self._response: weakref.ref[Response] | None = None
        self._tasks: list[asyncio.Task[Any]] = []

    def make_response(self) -> Response:
        """Make what the application answers with, once."""
        response = Response(self.request, self)
        self._response = weakref.ref(response)
        return response

    # ---- what the connection asks for ----

    @property
    def is_received(self) -> bool:
        """Whether the body has arrived, or there is none."""
        return self._decoder is None

    @property
    def awaits_body(self) -> bool:
        """Whether the peer owes bytes of the body; not while it waits to be told to go on."""
        return self._decoder is not None and not self._continue_owed

    @property
    def is_over(self) -> bool:
        """Whether the next request can be begun."""
        return self._decoder is None and self.is_answered

    @property
    def awaits_answer(self) -> bool:
        """Whether the application owes the head of the answer."""
        return not (self.is_begun or self.is_answered)

    @property
    def is_read(self) -> bool:
        """Whether somebody reads the body, and has not seen its end."""
        return self._decoder is not None and self._stream.claimed

    @property
    def held_size(self) -> int:
        """How many bytes of the body wait here."""
        return self._stream.size

    @property
    def is_full(self) -> bool:
        """Whether as much of the body waits here as may."""
        return self._stream.size >= self._connection.limits.high_water

    def receive(self, data: bytearray) -> None:
        """Take the body's part from the front of `data`; raises Refused."""
        if self._decoder is None or not data:
            return
        self._continue_owed = False
        self._connection.expect_body()
        content = self._decoder.feed(data)
        self._stream.feed(content)
        if self._decoder.done:
            self._decoder = None
            self._stream.end()

    def fail(self) -> None:
        """Give up: what is still written is dropped, whoever waits for the body is cancelled."""
        self._stream.fail()
        self.is_answered = True
        self._detach()

    def _detach(self) -> None:
        response = None if self._response is None else self._response()
        if response is not None:
            response._detach()

    # ---- what the body stream asks for ----

    def body_wanted(self) -> None:
        """Tell a peer that waits for it that its body is welcome: RFC 9110, 10.1.1."""
        if self._continue_owed:
            self._continue_owed = False
            self._connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._connection.expect_body()

    def body_taken(self) -> None:
        """Let the peer send more."""
        self._connection.resume()

    # ---- what the response asks for ----

    def write(self, data: bytes) -> None:
        """Queue bytes."""
        self._connection.write(data)

    def drained(self) -> Awaitable[None]:
        """Return what is done when the backlog is under the high-water mark."""
        return self._connection.drained()

    def must_close(self) -> bool:
        """Tell whether the connection has to end with this response."""
        if not self.is_received and (
            self._continue_owed or self._connection.limits.body_size is None
        ):
            # The peer may or may not send the rest, or the rest has no bound: it is not waited for.
            return True
        return self._connection.is_last() or not keeps_alive(self.request)

    def finish(self, *, close: bool) -> None:
        """Take note that the response is whole; `close` says that its head promised the end."""
        self.is_answered = True
        if not self._stream.claimed:
            self._stream.fail()
        self._connection.go_on(close=close)

    def abort(self) -> None:
        """Drop the connection, as the response cannot be finished."""
        self._connection.abort()

    def hold(self, task: asyncio.Task[Any]) -> None:
        """Keep a task, and cancel it when the connection goes, or nobody waits any more."""
        self._tasks.append(task)
        self._connection.hold(task)

    def response_dropped(self) -> None:
        """Take note that the application cannot answer any more.

        Garbage is collected in whatever thread, in the middle of whatever: what follows from it
        waits for a turn of the loop.
        """
        # The loop may have ended, and with it everybody who would hear.
        with contextlib.suppress(Exception):
            self.loop.call_soon_threadsafe(self.give_up, "nobody holds its response any more")

    def give_up(self, reason: str) -> None:
        """Answer in place of the application, and cancel what still works on it."""
        if self.is_answered:
            return
        self._detach()
        for task in self._tasks:
            task.cancel()
        # What nobody will read is not waited for.
        self._stream.fail()
        self._stream.claimed = False
        self._connection.tell_unanswered(self.request, reason)
        if self.is_answered:
            return  # whoever was told has ended the connection
        if self.is_begun:
            self.abort()  # the peer would take what it has for the whole
            return
        response = Response(self.request, self)
        response.write_head(500, {"Content-Type": "text/plain; charset=utf-8"})
        response.end("internal server error\n")
