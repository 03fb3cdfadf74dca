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
    """The connection of an exchange, as the exchange uses it."""

    limits: Limits
    loop: asyncio.AbstractEventLoop
    transport: Transport

    def client_of(self, head: RequestHead) -> Client:
        """Return the client of a request; raises Refused if a proxy's headers are malformed."""

    def write(self, data: bytes) -> None:
        """Queue bytes."""

    def drained(self) -> Awaitable[None]:
        """Return what is done when the backlog is under the high-water mark."""

    def is_last(self) -> bool:
        """Tell whether the connection ends with the present exchange."""

    def response_finished(self, *, close: bool) -> None:
        """Go on, as the response is complete; `close`: the connection has to end."""

    def resume(self) -> None:
        """Resume reading, as there is room for more of the body."""

    def expect_body(self) -> None:
        """Set a new deadline for the next bytes of the body."""

    def abort(self) -> None:
        """Drop the connection."""

    def report_unanswered(self, request: Request, reason: str) -> None:
        """Report a request that the application does not answer."""

    def track_task(self, task: asyncio.Task[Any]) -> None:
        """Keep a task, and cancel it when the connection is lost."""


class Exchange:
    """A request whose head has been accepted, its body, and its response.

    It is over when the body has arrived and the response is complete. If the application has not
    begun to read the body when the response ends, the rest of it is dropped as it arrives. Raises
    Refused for a body that is too big, or an expectation other than 100-continue.

    The response refers to the exchange, which has a weak reference to it only: once the application
    has dropped the response, the request can never be answered, and `response_dropped` is called.
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
        # Whether the client waits for a 100 (Continue) before it sends its body.
        self._continue_owed = expects_continue(head) and self._decoder is not None
        self._stream = BodyStream(None if self._decoder is None else self)
        self.request = Request(head, self._stream, connection.client_of(head))
        #: Whether the head of the answer has been written.
        self.is_begun = False
        #: Whether the answer is complete, or never will be.
        self.is_answered = False
        self._response: weakref.ref[Response] | None = None
        self._tasks: list[asyncio.Task[Any]] = []

    def make_response(self) -> Response:
        """Make the response object for the application; called once."""
        response = Response(self.request, self)
        self._response = weakref.ref(response)
        return response

    # ---- called by the connection ----

    @property
    def is_received(self) -> bool:
        """Whether the body has arrived, or there is none."""
        return self._decoder is None

    @property
    def awaits_body(self) -> bool:
        """Whether the client has yet to send bytes of the body, and is not waiting for a 100."""
        return self._decoder is not None and not self._continue_owed

    @property
    def is_over(self) -> bool:
        """Whether the next request can be begun."""
        return self._decoder is None and self.is_answered

    @property
    def awaits_answer(self) -> bool:
        """Whether the application has not yet begun to answer."""
        return not (self.is_begun or self.is_answered)

    @property
    def is_read(self) -> bool:
        """Whether the application reads the body, and has not reached its end."""
        return self._decoder is not None and self._stream.claimed

    @property
    def held_size(self) -> int:
        """How many bytes of the body wait for the application."""
        return self._stream.size

    @property
    def is_full(self) -> bool:
        """Whether as much of the body waits as is allowed."""
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
        """Fail the exchange: drop what is still written, cancel the task that reads the body."""
        self._stream.fail()
        self.is_answered = True
        self._detach()

    def _detach(self) -> None:
        response = None if self._response is None else self._response()
        if response is not None:
            response._detach()

    # ---- called by the body stream ----

    def body_wanted(self) -> None:
        """Send 100 (Continue) to a client that waits for it: RFC 9110, 10.1.1."""
        if self._continue_owed:
            self._continue_owed = False
            self._connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._connection.expect_body()

    def body_taken(self) -> None:
        """Let the client send more of the body."""
        self._connection.resume()

    # ---- called by the response ----

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
            # The client may never send the rest of the body, or the rest has no limit: do not wait
            # for it.
            return True
        return self._connection.is_last() or not keeps_alive(self.request)

    def finish(self, *, close: bool) -> None:
        """Go on, as the response is complete; `close`: its head said `Connection: close`."""
        self.is_answered = True
        if not self._stream.claimed:
            self._stream.fail()
        self._connection.response_finished(close=close)

    def abort(self) -> None:
        """Drop the connection, as the response cannot be finished."""
        self._connection.abort()

    def track_task(self, task: asyncio.Task[Any]) -> None:
        """Keep a task, and cancel it when the connection is lost, or the exchange gives up."""
        self._tasks.append(task)
        self._connection.track_task(task)

    def response_dropped(self) -> None:
        """Give up, as the application has dropped the response and cannot answer any more.

        The garbage collector may call this in any thread, in the middle of any code: so the answer
        is given in a later turn of the loop.
        """
        # The loop may have ended: then the connection has ended, too.
        with contextlib.suppress(Exception):
            self.loop.call_soon_threadsafe(self.give_up, "the application has dropped its response")

    def give_up(self, reason: str) -> None:
        """Answer with 500 in place of the application, and cancel the tasks of its listeners."""
        if self.is_answered:
            return
        self._detach()
        for task in self._tasks:
            task.cancel()
        # No task will read the rest of the body: do not wait for it.
        self._stream.fail()
        self._stream.claimed = False
        self._connection.report_unanswered(self.request, reason)
        if self.is_answered:
            return  # a listener of `error` has ended the connection
        if self.is_begun:
            self.abort()  # else the client would take a part of the answer for all of it
            return
        response = Response(self.request, self)
        response.write_head(500, {"Content-Type": "text/plain; charset=utf-8"})
        response.end("internal server error\n")
