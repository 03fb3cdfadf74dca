"""One call of an application for an HTTP request: ASGI's HTTP Connection Format 2.4.

What nearly every request does is compiled: see `core.asgi.call`.
"""

import contextlib
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from sockwave.asgi.application import Message
from sockwave.asgi.errors import without_disconnects
from sockwave.asgi.files import descriptor_of, read_descriptor
from sockwave.asgi.messages import read_links, read_trailers, refuse_message
from sockwave.core.asgi.call import ApplicationCall
from sockwave.errors import ClientDisconnected, Refused
from sockwave.http.files import open_file, read_pieces
from sockwave.http.serialize import serialize_head

logger = logging.getLogger("sockwave")

# The phases of a response, as `core.asgi.call` numbers them.
_IDLE, _BODY, _TRAILERS = range(3)


class HttpCall(ApplicationCall):
    """A request and its response, as an application sees them by `receive` and `send`."""

    __slots__ = ()

    # ---- how the application ends

    def returned(self) -> None:
        """Answer in place of an application that has returned without ending the response."""
        self._give_up("its application returned without ending the response")

    def cancelled(self) -> None:
        """Answer for an application whose task was cancelled, before its first step even."""
        self._give_up("its application was cancelled")

    def _give_up(self, reason: str) -> None:
        if not self.is_complete and not self.is_detached:
            self.response._give_up(reason)
        self._complete()

    def failed(self, error: BaseException) -> None:
        """Answer with 500 for an application that has raised, and report its error."""
        rest = without_disconnects(error) if self.is_detached else error
        if rest is not None:
            self.response._fail(rest)
            if not isinstance(rest, Refused):
                self.taker.report(rest, None, self.request)
        self._complete()

    # ---- the messages that few applications send

    async def take_other(self, phase: int, kind: str, message: Message) -> None:
        """Take a message that is not the head of the response, nor a part of its body."""
        take = _TAKERS.get((phase, kind))
        if take is None:
            names = [name for one, name in _EXPECTED if one == phase]
            raise refuse_message(kind, *names)
        await take(self, message)

    async def take_trailers(self, message: Message) -> None:
        """Take trailer fields, and end the response with the last of them."""
        pairs = read_trailers(message)
        self.response._add_trailers("".join(f"{a}: {b}\r\n" for a, b in pairs).encode("latin-1"))
        if not message.get("more_trailers", False):
            self._end()

    async def take_path(self, message: Message) -> None:
        """Send the file of a path as the body: `http.response.pathsend`."""
        path = message.get("path")
        if not isinstance(path, str):
            raise TypeError(f"path: expected str, given {type(path).__name__}")
        with open_file(path) as file:
            await self._write_all(read_pieces(file.read, os.fstat(file.fileno()).st_size))
        self._end()

    async def take_file(self, message: Message) -> None:
        """Send a part of an open file as a part of the body: `http.response.zerocopysend`."""
        await self._write_all(read_descriptor(*descriptor_of(message)))
        if not message.get("more_body", False):
            self._end()

    async def _write_all(self, pieces: AsyncIterator[bytes]) -> None:
        """Send pieces as fast as the client takes them; none for HEAD, for which none is read."""
        async with contextlib.aclosing(pieces):  # type: ignore[type-var]
            if self.request.method != "HEAD":
                async for piece in pieces:
                    await self.response.write(piece)
                    if self.is_detached:
                        raise ClientDisconnected("the client has gone")

    async def take_hint(self, message: Message) -> None:
        """Send 103 (Early Hints), RFC 8297, with the links of a message."""
        pairs = read_links(message)
        if self.request.http_version == "1.1":
            self.exchange.inform(serialize_head(103, pairs))

    async def take_debug(self, message: Message) -> None:
        """Log what an application tells of itself: `http.response.debug`."""
        logger.debug("%s: %r", self.request, message.get("info"))


#: In which phase which message is taken.
_TAKERS: dict[tuple[int, str], Callable[[Any, Message], Awaitable[None]]] = {
    (_IDLE, "http.response.early_hint"): HttpCall.take_hint,
    (_IDLE, "http.response.debug"): HttpCall.take_debug,
    (_BODY, "http.response.pathsend"): HttpCall.take_path,
    (_BODY, "http.response.zerocopysend"): HttpCall.take_file,
    (_TRAILERS, "http.response.trailers"): HttpCall.take_trailers,
}
_EXPECTED = ((_IDLE, "http.response.start"), (_BODY, "http.response.body"), *_TAKERS)
