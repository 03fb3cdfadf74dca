"""The content of a request on its way from the connection to whoever reads it."""

import asyncio
from typing import Protocol

from sockwave.core.events.loop_thread import LoopThread


class Source(Protocol):
    """What a body stream comes from."""

    loop: asyncio.AbstractEventLoop
    thread: LoopThread

    def body_wanted(self) -> None:
        """Take note that somebody waits for the body."""

    def body_taken(self) -> None:
        """Take note that the stream has been emptied."""


class BodyStream:
    """One growing buffer with one reader; the connection stops reading while it is full.

    When the peer is gone before the end, the reader is cancelled: that is nothing it could have
    done better, and nothing it can do. `source` is None for a request without a body.
    """

    __slots__ = ("_data", "_failed", "_source", "_waiter", "claimed")

    def __init__(self, source: Source | None) -> None:
        #: Whether somebody reads the body, or has begun to.
        self.claimed = False
        self._data = bytearray()
        # None when nothing more comes.
        self._source = source
        self._failed = False
        self._waiter: asyncio.Future[None] | None = None

    @property
    def size(self) -> int:
        """How many bytes wait for the reader."""
        return len(self._data)

    def check_thread(self, call: str) -> None:
        """Raise SockwaveError in a thread that may not wait for what is to come."""
        if self._source is not None:
            self._source.thread.check_call(call)

    def feed(self, piece: bytes) -> None:
        """Add a piece of the body."""
        if piece and not self._failed:
            self._data += piece
            self._wake()

    def end(self) -> None:
        """Say that the body is whole."""
        self._source = None
        self._wake()

    def fail(self) -> None:
        """Drop a body that is not whole, and cancel its reader, now or when it comes."""
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
        """Return what there is of the body, once there is any, and b"" at its end.

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
