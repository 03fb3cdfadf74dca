"""The content of a request on its way from the connection to whoever reads it."""

import asyncio
from collections import deque
from typing import Protocol


class Source(Protocol):
    """What a body stream comes from."""

    loop: asyncio.AbstractEventLoop

    def body_wanted(self) -> None:
        """Take note that somebody waits for the body."""

    def body_taken(self) -> None:
        """Take note that the stream holds less than before."""


class BodyStream:
    """A queue of pieces with one reader; the connection stops reading while it is full.

    When the peer is gone before the end, the reader is cancelled: that is nothing it could have
    done better, and nothing it can do.
    """

    __slots__ = ("_ended", "_failed", "_pieces", "_source", "_waiter", "size")

    def __init__(self, source: Source, *, ended: bool) -> None:
        self.size = 0
        self._source = source
        self._pieces: deque[bytes] = deque()
        self._ended = ended
        self._failed = False
        self._waiter: asyncio.Future[None] | None = None

    def feed(self, piece: bytes) -> None:
        """Add a piece of the body."""
        if piece:
            self._pieces.append(piece)
            self.size += len(piece)
            self._wake()

    def end(self) -> None:
        """Say that the body is whole."""
        self._ended = True
        self._wake()

    def fail(self) -> None:
        """Drop a body that is not whole, and cancel its reader, now or when it comes."""
        if not self._ended:
            self._failed = True
            self.clear()
            if self._waiter is not None:
                self._waiter.cancel()

    def clear(self) -> None:
        """Drop what nobody has read."""
        self._pieces.clear()
        self.size = 0

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def read(self) -> bytes:
        """Return the next piece, b"" at the end; RuntimeError for a second reader."""
        while not self._pieces:
            if self._failed:
                raise asyncio.CancelledError
            if self._ended:
                return b""
            if self._waiter is not None:
                raise RuntimeError("body: expected one reader, given a second one")
            self._source.body_wanted()
            self._waiter = self._source.loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        piece = self._pieces.popleft()
        self.size -= len(piece)
        self._source.body_taken()
        return piece
