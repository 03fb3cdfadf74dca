"""One call of an application for an HTTP request: ASGI's HTTP Connection Format 2.4."""

import asyncio
import contextlib
import enum
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from sockwave.asgi.application import Application, Message
from sockwave.asgi.errors import ClientDisconnected, without_disconnects
from sockwave.asgi.exchange import add_trailers, exchange_of, fail, give_up, set_head
from sockwave.asgi.files import descriptor_of, read_descriptor
from sockwave.asgi.messages import (
    read_bytes,
    read_head,
    read_links,
    read_trailers,
    refuse_message,
)
from sockwave.asgi.scope import make_http_scope
from sockwave.asgi.waiting import TOLD_COUNT, Waiting
from sockwave.core.io.transport import Transport
from sockwave.errors import Refused
from sockwave.http import Request, Response
from sockwave.http.files import open_file, read_pieces
from sockwave.tls_info import TLSInfo

logger = logging.getLogger("sockwave")

#: Called with what the application has raised.
Report = Callable[[BaseException, None], None]


class Phase(enum.Enum):
    """How far the response is."""

    IDLE = enum.auto()  #: its head is not known
    BODY = enum.auto()  #: its head is known, and leaves with the first part of the body
    TRAILERS = enum.auto()  #: its body is whole
    COMPLETE = enum.auto()  #: nothing more is taken


class HttpCall:
    """A request and its response, as an application sees them by `receive` and `send`.

    Nothing cancels the application: that the client has gone is told by `http.disconnect`, and by
    ClientDisconnected that `send` raises.
    """

    __slots__ = (
        "_application",
        "_exchange",
        "_find_tls",
        "_has_trailers",
        "_is_body_given",
        "_is_detached",
        "_phase",
        "_report",
        "_request",
        "_response",
        "_told_count",
        "_waiting",
    )

    def __init__(
        self,
        application: Application,
        request: Request,
        response: Response,
        report: Report,
        find_tls: Callable[[Transport], TLSInfo | None],
    ) -> None:
        self._application = application
        self._request = request
        self._response = response
        self._report = report
        self._find_tls = find_tls
        self._phase = Phase.IDLE
        self._has_trailers = False
        # Whether all of the body has been given; whether the response can reach the client no
        # longer; and how often the application has been told that it is over.
        self._is_body_given = False
        self._is_detached = False
        self._told_count = 0
        self._waiting = Waiting()
        self._exchange = exchange_of(response)
        self._exchange.watch(self)

    async def run(self) -> None:
        """Call the application, and see to it that the request is answered."""
        request, transport = self._request, self._exchange.transport
        scope = make_http_scope(
            self._application,
            request,
            is_secure=request.is_secure,
            client=request.remote_address,
            server=transport.local_address,
            tls=self._find_tls(transport),
            is_debugged=asyncio.get_running_loop().get_debug(),
        )
        try:
            await self._application.call(scope, self.receive, self.send)
        except (Exception, BaseExceptionGroup) as error:
            self._failed(error)
        else:
            self._give_up("its application returned without ending the response")

    def cancelled(self) -> None:
        """Answer for an application whose task was cancelled, before its first step even."""
        self._give_up("its application was cancelled")

    def _give_up(self, reason: str) -> None:
        """Answer in place of an application that has ended, if it has not answered itself."""
        if self._phase is not Phase.COMPLETE and not self._is_detached:
            give_up(self._response, reason)
        self._complete()

    def _failed(self, error: BaseException) -> None:
        """Answer with 500 for an application that has raised, and report its error."""
        rest = without_disconnects(error) if self._is_detached else error
        if rest is not None:
            fail(self._response, rest)
            if not isinstance(rest, Refused):
                self._report(rest, None)
        self._complete()

    def _complete(self) -> None:
        self._phase = Phase.COMPLETE
        self._waiting.wake()

    # ---- called by the HTTP side

    def body_arrived(self) -> None:
        """Let `receive` look again."""
        self._waiting.wake()

    def detached(self) -> None:
        """Tell the application that its response can reach the client no longer."""
        self._is_detached = True
        self._waiting.wake()

    # ---- called by the application

    async def receive(self) -> Message:
        """Return the next part of the body, or `http.disconnect` once all is over.

        A body that has arrived whole is given even if its client has gone meanwhile.
        """
        while True:
            is_received = self._exchange.is_received
            if self._phase is Phase.COMPLETE or (
                self._is_detached and (self._is_body_given or not is_received)
            ):
                return await self._disconnect()
            if not self._is_body_given:
                body = self._exchange.take_body()
                if body or is_received:
                    self._is_body_given = is_received
                    return {"type": "http.request", "body": body, "more_body": not is_received}
                self._exchange.body_wanted()
            await self._waiting.wait()

    async def _disconnect(self) -> Message:
        self._told_count += 1
        if self._told_count % TOLD_COUNT == 0:
            await asyncio.sleep(0)
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Take a message of the application; waits while the client is slow.

        Raises ClientDisconnected if the client has gone, RuntimeError for a message that may not
        come now, TypeError or ValueError for one that cannot be sent as it is.
        """
        kind = message["type"]
        if self._is_detached and self._phase is not Phase.COMPLETE:
            raise ClientDisconnected("the client has gone")
        take = _TAKERS.get((self._phase, kind))
        if take is None:
            raise refuse_message(kind, *(name for phase, name in _TAKERS if phase is self._phase))
        await take(self, message)

    async def _take_start(self, message: Message) -> None:
        status, pairs = read_head(message)
        set_head(self._response, status, pairs)
        self._has_trailers = bool(message.get("trailers", False))
        self._phase = Phase.BODY

    async def _take_body(self, message: Message) -> None:
        body = read_bytes(message, "body")
        if message.get("more_body", False):
            await self._write(body)
        elif self._has_trailers:
            # Not `end`, which would frame the body by its length.
            await self._write(body)
            self._phase = Phase.TRAILERS
        else:
            self._end(body)

    async def _write(self, body: bytes) -> None:
        await self._response.write(body)
        if self._is_detached:
            raise ClientDisconnected("the client has gone")

    def _end(self, body: bytes = b"") -> None:
        """End the response; the client need not have taken it."""
        self._exchange.leave_body()
        self._response.end(body)
        self._complete()

    async def _take_trailers(self, message: Message) -> None:
        add_trailers(self._response, read_trailers(message))
        if not message.get("more_trailers", False):
            self._end()

    async def _take_path(self, message: Message) -> None:
        path = message.get("path")
        if not isinstance(path, str):
            raise TypeError(f"path: expected str, given {type(path).__name__}")
        with open_file(path) as file:
            await self._write_all(read_pieces(file, os.fstat(file.fileno()).st_size))
        self._end()

    async def _take_file(self, message: Message) -> None:
        await self._write_all(read_descriptor(*descriptor_of(message)))
        if not message.get("more_body", False):
            self._end()

    async def _write_all(self, pieces: AsyncIterator[bytes]) -> None:
        """Send pieces as fast as the client takes them; none for HEAD, for which none is read."""
        async with contextlib.aclosing(pieces):  # type: ignore[type-var]
            if self._request.method != "HEAD":
                async for piece in pieces:
                    await self._write(piece)

    async def _take_hint(self, message: Message) -> None:
        pairs = read_links(message)
        if self._request.http_version == "1.1":
            self._exchange.inform(103, pairs)

    async def _take_debug(self, message: Message) -> None:
        logger.debug("%s: %r", self._request, message.get("info"))


#: In which phase which message is taken.
_TAKERS: dict[tuple[Phase, str], Callable[[Any, Message], Awaitable[None]]] = {
    (Phase.IDLE, "http.response.start"): HttpCall._take_start,
    (Phase.IDLE, "http.response.early_hint"): HttpCall._take_hint,
    (Phase.IDLE, "http.response.debug"): HttpCall._take_debug,
    (Phase.BODY, "http.response.body"): HttpCall._take_body,
    (Phase.BODY, "http.response.pathsend"): HttpCall._take_path,
    (Phase.BODY, "http.response.zerocopysend"): HttpCall._take_file,
    (Phase.TRAILERS, "http.response.trailers"): HttpCall._take_trailers,
}
