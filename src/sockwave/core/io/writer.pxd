"""Messages → bytes: the cork, the queue and back-pressure.

Nothing here uses a socket.
"""

from libc.stdint cimport uint8_t, uint32_t

from sockwave.core.io.backlog cimport Backlog, Marks
from sockwave.core.flag cimport flag

cdef struct Vector:             # laid out like the struct iovec of POSIX
    void* base
    size_t size

cdef class Writer

cdef class Cork:
    """The write buffer that the connections of a loop share, and the list of those that have
    something to do at the end of this turn."""
    cdef uint8_t* buffer
    cdef size_t used
    cdef Writer holder          # whose bytes are in the buffer: the connection whose turn it is
    # The writers to flush at the end of this turn of the loop: a linked list.
    cdef Writer first_dirty, last_dirty
    # Called to schedule the end of the turn, when there is something to do then: see `promise`.
    cdef object schedule
    cdef bint promised          # the end of the turn is scheduled, or under way
    cdef bint has_called_out    # the application's code was called, or a task of it woken
    cdef Marks marks

    cdef int link(self, Writer writer) noexcept
    cdef int promise(self) except -1
    cdef int flush(self) except -1
    cdef int forget_all(self) noexcept

cdef class Writer:
    """Queues what is written to one peer. A transport is a writer that can send it."""
    cdef Backlog backlog
    cdef Cork cork
    cdef Writer next_dirty
    cdef list waiters           # futures of the tasks that wait for the backlog to fall; None: none
    cdef flag is_dirty, is_blocked, is_broken, wants_drain

    # Implemented by transports. `put` returns how many bytes were taken; -1: the peer is gone.
    cdef Py_ssize_t put(self, const Vector* vectors, int count) noexcept
    cdef int await_writable(self) except -1     # call `peer_is_ready` when it takes bytes again
    cdef int backlog_rose(self) except -1       # the backlog is over the high-water mark
    cdef int backlog_fell(self) except -1       # … and under the low-water mark again
    cdef int backlog_emptied(self) except -1

    # Called by the engine. A transport handles what goes wrong in the first three itself:
    cdef int end_turn(self) except -1           # flush
    cdef int go_on(self) except -1              # with what its receiver left for a later turn
    cdef int time_is_up(self) except -1         # its deadline has passed
    cdef int close_and_report(self, object error) except -1     # close for an error of ours

    # Called to write. All bytes are accepted; those that the peer cannot take yet are the backlog.
    cdef int write_frame(
        self, uint8_t first_byte, object owner, const uint8_t* data, size_t size
    ) except -1
    cdef int write_masked_frame(
        self, uint8_t first_byte, uint32_t mask, const uint8_t* data, size_t size
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
    """Return the backlog of a writer; NULL for None."""
    return NULL if writer is None else &writer.backlog
