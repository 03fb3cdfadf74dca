"""Messages that are received in pieces (RFC 6455, section 5.4).

While a task expects a stream, the reader gives away the next message piece by piece, and an
`Intake` hands the pieces to the task. Pieces that wait are bounded: at the bound, reading pauses.
"""

import asyncio
import codecs
from collections import deque

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport SIZE_MAX

from sockwave.core.io.engine cimport READ_SIZE
from sockwave.core.session.flow_control cimport CHUNKS_FULL
from sockwave.core.protocol.frames cimport BINARY, MESSAGE_TOO_BIG, TEXT
from sockwave.core.limits.counters cimport QUEUE_COUNT, QUEUE_SIZE

cdef extern from "Python.h":
    Py_ssize_t PY_SSIZE_T_MAX

cdef str CHUNKS = "async for chunk in conn.stream()"

cdef object decode_utf8 = codecs.getincrementaldecoder("utf-8")


cdef size_t check_limit(object max_size) except? 0:
    """Return a limit in bytes; None stands for no limit.

    Raises TypeError for anything but int and None, ValueError for a size out of range.
    """
    if max_size is None:
        return SIZE_MAX
    if not isinstance(max_size, int) or isinstance(max_size, bool):
        given = type(max_size).__name__
        raise TypeError(f"max_size: expected int or None, given {given}")
    if not 1 <= max_size <= PY_SSIZE_T_MAX:
        raise ValueError(f"max_size: expected 1 to {PY_SSIZE_T_MAX}, given {max_size}")
    return max_size


cdef class Intake:
    """The messages of one connection that the application takes as streams.

    The chunks that wait, of all these messages together, are bounded: in bytes by `max_size`, in
    number by `max_count`.
    """

    def __init__(self, Session session, size_t max_size, Py_ssize_t max_count, size_t message_size):
        self.session = session
        self.thread = session.transport.engine.thread
        self.queue = deque()
        self.max_size = max_size
        self.max_count = max_count
        # Several pieces fit into `max_size`, so that one can be taken while the next one comes.
        self.piece_size = min(max(max_size // 4, 1), <size_t>READ_SIZE)
        self.message_size = message_size

    cdef bint is_expected(self) except -1:
        """Tell whether the application has asked for a message, or for the rest of one."""
        return len(self.queue) > 1 or len(self.queue) and not (<Incoming>self.queue[0]).is_unwanted

    cdef Incoming expect(self, size_t limit):
        """Expect the next message that no task has asked for, behind messages expected already."""
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
            self.queue.append(incoming)     # the end of the connection ends it
            self.session.fail(MESSAGE_TOO_BIG)
        return incoming

    cdef int begin(self) except -1:
        """Let the reader give the first message away in pieces. The reader may be in the middle of
        the message."""
        cdef Incoming incoming = self.queue[0]
        reader = self.session.take_reader()
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
        """Hand on a piece of the present message; the last one ends the message."""
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
        if size > incoming.limit:       # here only a compressed message can be larger
            return self.session.fail(MESSAGE_TOO_BIG)
        if not incoming.is_unwanted:
            incoming.put(message, size)
        return self.end_message()

    cdef int end_message(self) except -1:
        """Go to the next message, whether a stream or another way of receiving takes it."""
        cdef Incoming incoming = self.queue.popleft()
        incoming.end(None)
        if self.queue:
            return self.begin()
        self.session.reader.give_pieces(self.message_size, 0)
        return 0

    cdef int account(self, Py_ssize_t count, Py_ssize_t size) except -1:
        """Note that so many more chunks and bytes wait, and pause or resume reading for it."""
        self.count += count
        self.size += size
        if self.session is None:
            return 0
        if self.count >= self.max_count or self.size > self.max_size - self.piece_size:
            return self.session.pause(
                CHUNKS_FULL, QUEUE_COUNT if self.count >= self.max_count else QUEUE_SIZE
            )
        if self.count <= self.max_count // 4 and self.size <= self.max_size // 4:
            return self.session.resume(CHUNKS_FULL)
        return 0

    cdef int withdraw(self, Incoming incoming) except -1:
        """Let another task have a message that is no longer expected; a message that has begun is
        discarded."""
        if incoming.opcode or self.session is None or incoming not in self.queue:
            return 0
        was_first = self.queue[0] is incoming
        if was_first and self.session.reader.message_opcode:
            return 0                # it has begun, but no byte of it has come yet
        self.queue.remove(incoming)
        if was_first:
            if self.queue:
                return self.begin()
            self.session.reader.give_pieces(self.message_size, 0)
        return 0

    cdef int forget(self) except -1:
        """Drop the chunks that have come of unfinished messages, as the connection is ending."""
        cdef Incoming incoming
        cdef size_t size
        for incoming in self.queue:
            while incoming.chunks:
                _, size = incoming.chunks.popleft()
                self.account(-1, -<Py_ssize_t>size)
        return 0

    cdef int end(self, object error) except -1:
        """Tell all tasks that still expect chunks that the connection has ended."""
        self.session = None
        self.error = error
        while self.queue:
            (<Incoming>self.queue.popleft()).end(error)
        return 0


cdef class Incoming:
    """One message that the application takes as a stream."""

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
        """Add bytes that have come. Of text, only complete code points are added: one may lie in
        two pieces."""
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

    cdef int let_go(self) except -1:
        """Abandon the message, as the last reference to its iterator is gone. That may happen in
        another thread, where the garbage collector runs."""
        if self.intake.thread.is_current():
            return self.abandon()
        try:
            self.intake.thread.loop.call_soon_threadsafe(self._abandon)
        except RuntimeError:
            pass                        # the loop has been closed: no bytes come any more
        return 0

    def _abandon(self):
        self.abandon()

    cdef int abandon(self) except -1:
        """Discard the chunks that have come, and all that will come, of this message."""
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
        self.incoming.intake.thread.check(CHUNKS)
        self.has_iterator = True
        return Chunks(self.incoming)

    def __del__(self):
        if not self.has_iterator:
            self.incoming.let_go()

    @property
    def is_text(self):
        """Whether the chunks are str; None until the message has begun."""
        return self.incoming.opcode == TEXT if self.incoming.opcode else None


cdef class Chunks:
    """The iterator of an `async for`. Its end discards the rest of the message: a task that leaves
    the loop drops the reference to it."""

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
        incoming.intake.thread.check(CHUNKS)
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
        self.incoming.let_go()
