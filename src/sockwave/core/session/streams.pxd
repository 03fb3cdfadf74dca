"""Messages that are received in pieces (RFC 6455, section 5.4)."""

from libc.stdint cimport uint8_t

from sockwave.core.events.loop_thread cimport LoopThread
from sockwave.core.protocol.reader cimport Found
from sockwave.core.session.session cimport Session

cdef class Incoming

cdef class Intake:
    """The messages of one connection that the application takes as streams."""
    cdef Session session        # None once it has ended
    cdef LoopThread thread
    cdef object queue           # a deque of Incoming: the present one, and those asked for
    cdef object error           # raised to the tasks: why the connection ended
    cdef object consumer        # the task that asked last
    cdef size_t size, max_size  # of the chunks that wait, in bytes
    cdef size_t piece_size      # of one chunk, at most, in bytes
    cdef Py_ssize_t count, max_count    # of the chunks that wait
    cdef size_t message_size    # of a message that is not taken as a stream, at most

    cdef bint is_expected(self) except -1
    cdef Incoming expect(self, size_t limit)
    cdef Incoming turn_into(self, size_t limit, object message, size_t size)
    cdef int begin(self) except -1
    cdef int take_piece(self, int opcode, const Found* found) except -1
    cdef int take_whole(self, object message, size_t size) except -1
    cdef int end_message(self) except -1
    cdef int account(self, Py_ssize_t count, Py_ssize_t size) except -1
    cdef int withdraw(self, Incoming incoming) except -1
    cdef int end(self, object error) except -1
    cdef int forget(self) except -1

cdef class Incoming:
    """One message that the application takes as a stream."""
    cdef Intake intake
    cdef object chunks          # a deque of (chunk, size)
    cdef object decoder         # of text
    cdef object waiter          # the future of the task that waits for a chunk
    cdef object error           # raised to the task: why the message ended before its end
    cdef size_t limit           # of the whole message, in bytes
    cdef uint8_t opcode         # 0: the message has not begun
    cdef bint is_ended, is_unwanted     # unwanted: the application has abandoned it

    cdef int put(self, object chunk, size_t size) except -1
    cdef int put_bytes(self, bytes data, bint is_last) except -1
    cdef int end(self, object error) except -1
    cdef int wake(self) except -1
    cdef int abandon(self) except -1
    cdef int let_go(self) except -1

cdef class IncomingMessage:
    """What `Connection.stream` returns: an asynchronous iterable of chunks."""
    cdef Incoming incoming
    cdef bint has_iterator

cdef class Chunks:
    """The iterator of an `async for`. Its end discards the rest of the message: a task that leaves
    the loop drops the reference to it."""
    cdef Incoming incoming

cdef size_t check_limit(object max_size) except? 0
