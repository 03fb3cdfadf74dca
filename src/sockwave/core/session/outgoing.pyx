"""Messages that are sent in pieces (RFC 6455, section 5.4).

Each chunk is a frame of its own; other messages wait behind the last one.
"""

import asyncio
from collections import deque

from cpython.bytes cimport PyBytes_AS_STRING

from sockwave.core.protocol.frames cimport BINARY, CONTINUATION, FIN, TEXT
from sockwave.core.protocol.framing cimport payload_of
from sockwave.core.session.closing cimport CONNECTED, WE_CLOSE, advance_closing, closed_error

from sockwave.close import CloseCode, encode_close
from sockwave.core.events.waiter import DONE

KINDS = {"text": TEXT, "binary": BINARY}

cdef bytes NOTHING = b""


cdef class OutgoingMessage:
    """One outgoing message as a stream: `async with … as out`, and `await out.write(chunk)`.

    An exception inside the block fails the connection with 1011 once something was written: the
    message can be neither ended nor taken back.
    """

    def __cinit__(self, Sender session not None, int opcode):
        self.session = session
        self.opcode = opcode
        self.parts = []

    async def __aenter__(self):
        session = self.session
        session.transport.engine.thread.check("conn.stream_message")
        if self.is_entered:
            raise RuntimeError("stream_message: expected to be entered once, given a second time")
        self.is_entered = True
        if session.streamers is None:
            session.streamers = deque()
        session.streamers.append(self)
        if session.streamers[0] is not self:
            self.turn = asyncio.get_running_loop().create_future()
            try:
                await self.turn
            except asyncio.CancelledError:
                self.let_next()
                raise
        if session.state != CONNECTED:
            self.let_next()
            raise closed_error(session)
        self.is_open = True
        return self

    def write(self, chunk):
        """Send the next part: str for text, bytes-like for binary.

        It is queued at once, as a frame of its own; the awaitable that is returned is done when the
        backlog is under the high-water mark. An empty chunk sends nothing.

        Raises ConnectionClosed when not connected, TypeError for a chunk of the other kind,
        ValueError for a str with a lone surrogate, RuntimeError outside of `async with`.
        """
        cdef const uint8_t* data
        cdef size_t size
        cdef int opcode
        self.session.transport.engine.thread.check("out.write")
        if not self.is_open:
            raise RuntimeError("stream_message: expected to write inside its 'async with'")
        if self.session.state != CONNECTED:
            raise closed_error(self.session)
        owner = payload_of(chunk, &data, &size, &opcode)
        if opcode != self.opcode:
            expected = "str, for text" if self.opcode == TEXT else "bytes-like, for binary"
            raise TypeError(f"chunk: expected {expected}, given {type(chunk).__name__}")
        if self.session.is_draft():
            self.parts.append(owner)
        elif size:
            self.session.write_fragment(
                CONTINUATION if self.has_begun else self.opcode, owner, data, size
            )
            self.has_begun = True
            return self.session.transport.drain_awaitable()
        return DONE

    async def __aexit__(self, kind, error, traceback):
        session = self.session
        session.transport.engine.thread.check("conn.stream_message")
        self.is_open = False
        try:
            if error is None:
                self.finish()
            elif self.has_begun and session.state == CONNECTED:
                # 7.4.1: "1011 indicates that a server is terminating the connection because it
                # encountered an unexpected condition that prevented it from fulfilling the
                # request."
                advance_closing(session, WE_CLOSE, encode_close(CloseCode.INTERNAL_ERROR, ""))
        finally:
            self.let_next()
        if error is None:
            await session.transport.drain_awaitable()

    cdef int finish(self) except -1:
        """Send the frame that ends the message, and the messages that have waited behind it."""
        cdef const uint8_t* data
        cdef size_t size
        cdef int opcode
        session = self.session
        if session.state != CONNECTED:
            raise closed_error(session)
        if session.is_draft():
            text = payload_of("".join(self.parts), &data, &size, &opcode)
            return session.write_message(opcode, text, data, size)
        session.write_fragment(
            FIN | (CONTINUATION if self.has_begun else self.opcode), NOTHING,
            <const uint8_t*>PyBytes_AS_STRING(NOTHING), 0,
        )
        return session.end_fragments()

    cdef int let_next(self) except -1:
        """Leave the queue of streamed messages, and wake the task of the first one then."""
        cdef OutgoingMessage streamer
        streamers = self.session.streamers
        if self in streamers:
            streamers.remove(self)
        if streamers:
            streamer = streamers[0]
            if streamer.turn is not None and not streamer.turn.done():
                streamer.turn.set_result(None)
        return 0


cdef int wake_streamers(Sender session) except -1:
    """Wake all tasks that wait for their turn to stream: they find that the connection is gone."""
    cdef OutgoingMessage streamer
    for streamer in session.streamers or ():
        if streamer.turn is not None and not streamer.turn.done():
            streamer.turn.set_result(None)
    return 0


cdef int kind_of(object kind) except -1:
    """Return the opcode of a kind of message.

    Raises TypeError or ValueError for a kind that does not exist.
    """
    if not isinstance(kind, str):
        raise TypeError(f"kind: expected str, given {type(kind).__name__}")
    if kind not in KINDS:
        raise ValueError(f"kind: expected 'text' or 'binary', given {kind!r}")
    return KINDS[kind]
