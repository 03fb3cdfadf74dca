"""Messages that are received and sent in pieces (RFC 6455, section 5.4).

Incoming: while somebody expects a stream, the reader gives the next message away piece by piece,
and an `Intake` hands the pieces to whoever asked. What waits is bounded: then reading pauses.
Outgoing: each chunk is a frame of its own; other messages wait behind the last one.
"""

import asyncio
import codecs
from collections import deque

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t

from sockwave.core.carrier cimport READ_SIZE
from sockwave.core.frames cimport BINARY, CONTINUATION, MESSAGE_TOO_BIG, TEXT
from sockwave.core.session cimport CHUNKS_FULL, CONNECTED, WE_CLOSE
from sockwave.core.writer cimport payload_of

from sockwave.close import CloseCode, check_close
from sockwave.core.writer import DONE

cdef enum:
    FIN = 0x80

cdef object decode_utf8 = codecs.getincrementaldecoder("utf-8")

KINDS = {"text": TEXT, "binary": BINARY}

cdef bytes NOTHING = b""


cdef class Intake:
    """Those messages of one connection that are taken as streams.

    What waits is bounded by `max_size` and `max_count`, over all of them.
    """

    def __init__(self, Session session, size_t max_size, Py_ssize_t max_count, size_t message_size):
        self.session = session
        self.queue = deque()
        self.max_size = max_size
        self.max_count = max_count
        # Several pieces go into it, so that one can be taken while the next one comes.
        self.piece_size = min(max(max_size // 4, 1), <size_t>READ_SIZE)
        self.message_size = message_size

    cdef Incoming expect(self, size_t limit):
        """Take the next message that nobody has been told of, after those expected already."""
        cdef Incoming incoming = Incoming(self)
        incoming.limit = limit
        if self.session is None:
            incoming.end(self.error)
            return incoming
        self.queue.append(incoming)
        if self.queue[0] is incoming:
            self.begin()
        return incoming

    cdef Incoming turn_into(self, size_t limit, object message, size_t size):
        """Make a stream of a message that waited for `receive`."""
        cdef Incoming incoming = Incoming(self)
        incoming.opcode = TEXT if isinstance(message, str) else BINARY
        if size <= limit:
            incoming.put(message, size)
            incoming.end(None)
        elif self.session is None:
            incoming.end(self.error)
        else:
            self.queue.append(incoming)     # which the end of the connection ends
            self.session.fail(MESSAGE_TOO_BIG)
        return incoming

    cdef int begin(self) except -1:
        """Let the reader give away the first message in pieces; it may be in the middle of it."""
        cdef Incoming incoming = self.queue[0]
        reader = self.session.reader
        so_far = reader.give_pieces(incoming.limit, self.piece_size)
        if reader.message_opcode and not reader.is_deflated:
            if reader.message_size > incoming.limit or (
                reader.frame_left > incoming.limit - reader.message_size
            ):
                return self.session.fail(MESSAGE_TOO_BIG)
            incoming.opcode = reader.message_opcode
        if so_far:
            incoming.put_bytes(so_far, False)
        return 0

    cdef int take_piece(self, int opcode, const Found* found) except -1:
        """Hand on a piece; the last one ends the message."""
        cdef Incoming incoming = self.queue[0]
        incoming.opcode = opcode
        if not incoming.is_unwanted:
            incoming.put_bytes(
                PyBytes_FromStringAndSize(<const char*>found.data, found.size), found.is_last
            )
        if found.is_last:
            self.end_message()
        return 0

    cdef int take_whole(self, object message, size_t size) except -1:
        """Hand on a message that was found whole."""
        cdef Incoming incoming = self.queue[0]
        incoming.opcode = TEXT if isinstance(message, str) else BINARY
        if size > incoming.limit:       # which only a compressed one can be here
            return self.session.fail(MESSAGE_TOO_BIG)
        if not incoming.is_unwanted:
            incoming.put(message, size)
        return self.end_message()

    cdef int end_message(self) except -1:
        """Go to the next message, whoever gets it."""
        cdef Incoming incoming = self.queue.popleft()
        incoming.end(None)
        if self.queue:
            return self.begin()
        self.session.reader.give_pieces(self.message_size, 0)
        return 0

    cdef int account(self, Py_ssize_t count, Py_ssize_t size) except -1:
        """Note what waits now, and pause or resume reading for it."""
        self.count += count
        self.size += size
        if self.session is None:
            return 0
        if self.count >= self.max_count or self.size > self.max_size - self.piece_size:
            return self.session.fall_behind(CHUNKS_FULL)
        if self.count <= self.max_count // 4 and self.size <= self.max_size // 4:
            return self.session.catch_up(CHUNKS_FULL)
        return 0

    cdef int withdraw(self, Incoming incoming) except -1:
        """Let somebody else have a message that is no longer expected; one that has begun is
        discarded."""
        if incoming.opcode or self.session is None or incoming not in self.queue:
            return 0
        was_first = self.queue[0] is incoming
        if was_first and self.session.reader.message_opcode:
            return 0                # begun, but nothing of it has come yet
        self.queue.remove(incoming)
        if was_first:
            if self.queue:
                return self.begin()
            self.session.reader.give_pieces(self.message_size, 0)
        return 0

    cdef int end(self, object error) except -1:
        """Tell everybody who still expects something."""
        self.session = None
        self.error = error
        while self.queue:
            (<Incoming>self.queue.popleft()).end(error)
        return 0


cdef class Incoming:
    """One such message."""

    def __cinit__(self, Intake intake not None):
        self.intake = intake
        self.chunks = deque()

    cdef int put(self, object chunk, size_t size) except -1:
        if chunk:
            self.chunks.append((chunk, size))
            self.intake.account(1, size)
            self.wake()
        return 0

    cdef int put_bytes(self, bytes data, bint is_last) except -1:
        """Add what has come; of text, what is whole: code points may lie in two pieces."""
        if self.opcode != TEXT:
            return self.put(data, len(data))
        if self.decoder is None:
            self.decoder = decode_utf8()
        return self.put(self.decoder.decode(data, is_last), len(data))

    cdef int end(self, object error) except -1:
        self.is_ended = True
        self.error = error
        self.decoder = None
        return self.wake()

    cdef int wake(self) except -1:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)
        return 0

    cdef int abandon(self) except -1:
        """Discard what has come, and what will come, of this message."""
        cdef size_t size
        if self.is_unwanted:
            return 0
        self.is_unwanted = True
        chunks, self.chunks = self.chunks, deque()
        for _, size in chunks:
            self.intake.account(-1, -<Py_ssize_t>size)
        return self.intake.withdraw(self)


cdef class IncomingMessage:
    """One incoming message as a stream: `async for chunk in …` gives its parts as they arrive.

    Leaving the loop early discards the rest of the message.
    """

    def __cinit__(self, Incoming incoming not None):
        self.incoming = incoming

    def __aiter__(self):
        self.has_iterator = True
        return Chunks(self.incoming)

    def __del__(self):
        if not self.has_iterator:
            self.incoming.abandon()

    @property
    def opcode(self):
        """1 for text, 2 for binary (RFC 6455, section 5.2); None until the message has begun."""
        return self.incoming.opcode or None

    @property
    def is_text(self):
        """Whether the chunks are str; None until the message has begun."""
        return self.incoming.opcode == TEXT if self.incoming.opcode else None


cdef class Chunks:
    """The iterator of an `async for`; who leaves the loop lets go of it."""

    def __cinit__(self, Incoming incoming not None):
        self.incoming = incoming

    def __aiter__(self):
        return self

    async def __anext__(self):
        """Take the next chunk, waiting for it: bytes, or str of a text message.

        Raises ConnectionClosed when the connection ends before the message does.
        """
        cdef size_t size
        incoming = self.incoming
        incoming.intake.consumer = asyncio.current_task()
        while not incoming.chunks:
            if incoming.error is not None:
                raise incoming.error
            if incoming.is_ended:
                raise StopAsyncIteration
            if incoming.waiter is not None and not incoming.waiter.done():
                raise RuntimeError("stream: expected one task to take the chunks, given two")
            incoming.waiter = asyncio.get_running_loop().create_future()
            await incoming.waiter
        chunk, size = incoming.chunks.popleft()
        incoming.intake.account(-1, -<Py_ssize_t>size)
        return chunk

    def __del__(self):
        self.incoming.abandon()


cdef class OutgoingMessage:
    """One outgoing message as a stream: `async with … as out`, and `await out.write(chunk)`.

    An exception inside the block fails the connection with 1011 once something was written: the
    message can be neither ended nor taken back.
    """

    def __cinit__(self, Session session not None, int opcode):
        self.session = session
        self.opcode = opcode
        self.parts = []

    async def __aenter__(self):
        session = self.session
        if self.is_entered:
            raise RuntimeError("stream_message: expected to be entered once, given a second time")
        self.is_entered = True
        if session.speakers is None:
            session.speakers = deque()
        session.speakers.append(self)
        if session.speakers[0] is not self:
            self.turn = asyncio.get_running_loop().create_future()
            try:
                await self.turn
            except asyncio.CancelledError:
                self.let_next()
                raise
        if session.phase != CONNECTED:
            self.let_next()
            raise session.closed_error()
        self.is_open = True
        return self

    def write(self, chunk):
        """Send the next part: str for text, bytes-like for binary.

        It is queued at once, as a frame of its own; the awaitable that is returned is done when the
        backlog is under the high-water mark. An empty chunk sends nothing.

        Raises ConnectionClosed when not connected, TypeError for the other kind, ValueError for a
        str with a lone surrogate, RuntimeError outside of `async with`.
        """
        cdef const uint8_t* data
        cdef size_t size
        cdef int opcode
        if not self.is_open:
            raise RuntimeError("stream_message: expected to write inside its 'async with'")
        if self.session.phase != CONNECTED:
            raise self.session.closed_error()
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
            return self.session.line.drain_awaitable()
        return DONE

    async def __aexit__(self, kind, error, traceback):
        session = self.session
        self.is_open = False
        try:
            if error is None:
                self.finish()
            elif self.has_begun and session.phase == CONNECTED:
                # 7.4.1: "1011 indicates that a server is terminating the connection because it
                # encountered an unexpected condition that prevented it from fulfilling the
                # request."
                session.happened(WE_CLOSE, check_close(CloseCode.INTERNAL_ERROR, ""))
        finally:
            self.let_next()
        if error is None:
            await session.line.drain_awaitable()

    cdef int finish(self) except -1:
        """Send the frame that ends the message, and what has waited for it."""
        cdef const uint8_t* data
        cdef size_t size
        cdef int opcode
        session = self.session
        if session.phase != CONNECTED:
            raise session.closed_error()
        if session.is_draft():
            text = payload_of("".join(self.parts), &data, &size, &opcode)
            return session.write_message(opcode, text, data, size)
        session.write_fragment(
            FIN | (CONTINUATION if self.has_begun else self.opcode), NOTHING,
            <const uint8_t*>PyBytes_AS_STRING(NOTHING), 0,
        )
        return session.end_fragments()

    cdef int let_next(self) except -1:
        """Leave the row of those who stream; who is first then has its turn."""
        cdef OutgoingMessage speaker
        speakers = self.session.speakers
        if self in speakers:
            speakers.remove(self)
        if speakers:
            speaker = speakers[0]
            if speaker.turn is not None and not speaker.turn.done():
                speaker.turn.set_result(None)
        return 0


cdef int wake_speakers(Session session) except -1:
    """Let all who wait for their turn find out that the connection is gone."""
    cdef OutgoingMessage speaker
    for speaker in session.speakers or ():
        if speaker.turn is not None and not speaker.turn.done():
            speaker.turn.set_result(None)
    return 0


cdef int kind_of(object kind) except -1:
    """Find the opcode of a kind of message.

    Raises TypeError or ValueError for what is none.
    """
    if not isinstance(kind, str):
        raise TypeError(f"kind: expected str, given {type(kind).__name__}")
    if kind not in KINDS:
        raise ValueError(f"kind: expected 'text' or 'binary', given {kind!r}")
    return KINDS[kind]
