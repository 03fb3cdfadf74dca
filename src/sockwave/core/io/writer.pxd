"""Messages → bytes: the cork, the queue and back-pressure, in this one place.

No socket is seen from here.
"""

from libc.stdint cimport uint8_t

from sockwave.core.io.backlog cimport Backlog, Marks
from sockwave.core.flag cimport flag

cdef struct Vector:             # laid out like the struct iovec of POSIX
    void* base
    size_t size

cdef class Writer

cdef class Cork:
    """The write buffer that the connections of a loop share,
    and those of them that have something to send."""
    cdef uint8_t* buffer
    cdef size_t used
    cdef Writer holder          # whose bytes are in the buffer: the connection whose turn it is
    # A chain of those to flush at the end of this turn of the loop.
    cdef Writer first_dirty, last_dirty
    # Called when there is something to do at the end of the turn and nobody has promised to.
    cdef object schedule
    cdef bint promised
    cdef bint has_called_out    # something of the application's was called, or woken
    cdef Marks marks

    cdef int link(self, Writer writer) noexcept
    cdef int promise(self) except -1
    cdef int flush(self) except -1
    cdef int forget_all(self) noexcept

cdef class Writer:
    """What is written to one peer. A transport is a writer that knows how to put bytes on their
    way."""
    cdef Backlog backlog
    cdef Cork cork
    cdef Writer next_dirty
    cdef list waiters           # the futures of those who wait for the backlog to fall, if any
    cdef flag is_dirty, is_blocked, is_broken, wants_drain

    # What a transport does:
    # `put` gives the bytes taken; -1: the peer is gone.
    cdef Py_ssize_t put(self, const Vector* vectors, int count) noexcept
    cdef int await_writable(self) except -1     # call `flush` when it takes bytes again
    cdef int backlog_rose(self) except -1       # the backlog is over the high-water mark
    cdef int backlog_fell(self) except -1       # … and under the low-water mark again
    cdef int backlog_emptied(self) except -1

    # What an engine asks of a transport; what goes wrong in the first three is its own affair:
    cdef int end_turn(self) except -1           # flush
    cdef int go_on(self) except -1              # with what its receiver has left for a later turn
    cdef int time_is_up(self) except -1         # its deadline has passed
    cdef int close_and_report(self, object error) except -1     # end for an error of ours

    # What is asked of it. Bytes are taken in whole; what the peer cannot take yet is the backlog.
    cdef int write_frame(
        self, uint8_t first_byte, object owner, const uint8_t* data, size_t size
    ) except -1
    cdef int write_bytes(self, object owner, const uint8_t* data, size_t size) except -1
    cdef int share(self, bytes frame) except -1
    cdef int share_expendable(self, bytes frame, bint has_key, object key) except -1
    cdef int take_cork(self) except -1
    cdef int release_cork(self) except -1
    cdef int flush(self) except -1
    cdef int peer_is_ready(self) except -1
    cdef int drop_backlog(self, bint keep_started) except -1
    cdef object drain_awaitable(self)
    cdef object new_waiter(self)
    cdef int take_over_waiters(self, Writer other) except -1

    cdef bint fits_cork(self, size_t size) except -1
    cdef int queued(self) except -1
    cdef int shorten_cork(self, size_t taken) except -1
    cdef int block(self) except -1
    cdef int measure_backlog(self) except -1
    cdef int release_waiters(self) except -1
    cdef int tell_if_drained(self) except -1

cdef inline Backlog* backlog_of(Writer writer) noexcept:
    """Give what waits in a writer; NULL where there is none."""
    return NULL if writer is None else &writer.backlog
