"""The body of a request, on its way from the connection to the application."""

import asyncio
from typing import Protocol

from sockwave.core.events.loop_thread import LoopThread


class Source(Protocol):
    """The exchange, as its body stream uses it."""

    loop: asyncio.AbstractEventLoop
    thread: LoopThread

    def body_wanted(self) -> None:
        """Take note that the application waits for the body."""

    def body_taken(self) -> None:
        """Take note that the application has read all that was buffered."""


class BodyStream:
    """One growing buffer with one reader; the connection stops reading while it is full.

    If the client goes before the end of the body, the reader is cancelled, not given an error: it
    has done nothing wrong, and can do nothing about it. `source` is None for a request without a
    body.
    """

    __slots__ = ("_data", "_failed", "_source", "_waiter", "claimed")

    def __init__(self, source: Source | None) -> None:
        #: Whether the application reads the body, or has begun to.
        self.claimed = False
        self._data = bytearray()
        # None once the body is complete, or has failed.
        self._source = source
        self._failed = False
        self._waiter: asyncio.Future[None] | None = None

    @property
    def size(self) -> int:
        """How many bytes wait for the reader."""
        return len(self._data)

    def check_thread(self, call: str) -> None:
        """Raise SockwaveError in a thread other than the loop's, unless the body is complete."""
        if self._source is not None:
            self._source.thread.check_call(call)

    def feed(self, piece: bytes) -> None:
        """Add a piece of the body."""
        if piece and not self._failed:
            self._data += piece
            self._wake()

    def end(self) -> None:
        """Mark the body as complete."""
        self._source = None
        self._wake()

    def fail(self) -> None:
        """Drop an incomplete body, and cancel its reader, now or once it begins to read."""
        if self._source is not None:
            self._source = None
            self._failed = True
            self._data.clear()
            if self._waiter is not None:
                self._waiter.cancel()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def read(self) -> bytes:
        """Return the bytes that have arrived, waiting for some; b"" at the end of the body.

        Raises RuntimeError for a second reader.
        """
        while not self._data:
            if self._failed:
                raise asyncio.CancelledError
            if self._source is None:
                return b""
            if self._waiter is not None:
                raise RuntimeError("body: expected one reader, given a second one")
            self._source.body_wanted()
            self._waiter = self._source.loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        piece = bytes(self._data)
        self._data.clear()
        if self._source is not None:
            self._source.body_taken()
        return piece
