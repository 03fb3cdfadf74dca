"""The loop of the poller thread: one epoll in which the engines' are nested (Linux)."""

from libc.stdint cimport uint64_t

from sockwave.core.io.epoll.socket cimport EpollSocket
from sockwave.core.io.epoll.system cimport poller_event
from sockwave.core.sync.shared_loop cimport Reading, SharedLoop

cdef enum:
    BATCH_COUNT = 16            # there is an engine for each set of options

cdef class SocketReading

cdef class Handle:
    """A call that is scheduled."""
    cdef object callback        # None: it has been cancelled
    cdef tuple arguments

cdef class PollerLoop(SharedLoop):
    """The loop of the poller thread, of which engines and futures use what they need."""
    cdef int poller             # the thread's epoll
    cdef int bell               # an eventfd: what has been scheduled meanwhile is due earlier
    cdef poller_event batch[BATCH_COUNT]
    cdef object ready           # the calls that are due, in their order
    cdef object own_ready       # … and those that the poller thread makes itself
    cdef list timers            # a heap of (when, number, handle)
    cdef double next_due        # the first of them: read each time that a thread leaves
    cdef uint64_t timer_count
    cdef dict readers           # descriptor → what is called when it can be read
    cdef double due             # until when the thread waits, while it waits
    cdef bint is_waiting
    cdef list taken             # readings whose sockets threads have read that do not wait now
    cdef bint looks_back        # a call of `_look_back` is scheduled

    cdef int close_descriptors(self) noexcept
    cdef int find_wait(self) except -2
    cdef void report(self, object error) noexcept
    cdef int report_all(self) except -1
    cdef int serve_readers(self, int count) except -1
    cdef int note_first(self) except -1
    cdef int run_timers(self) except -1
    cdef int run_calls(self, object handles) except -1
    cdef int call(self, object callback, tuple arguments) except -1
    cdef int note_taken(self, SocketReading reading) except -1

cdef class SocketReading(Reading):
    """How a thread waits for the bytes of a socket, and reads them itself.

    The socket stays its own between two calls, and goes back to the epoll when no call has come for
    a while: to tell the epoll of each call would cost two system calls for each message.
    """
    cdef EpollSocket peer
    cdef int bell               # an eventfd; -1: the thread has not had to wait yet
    cdef bint is_taken          # the thread reads the socket
    cdef bint is_noted          # the loop will look whether it still does
    cdef bint was_used          # … and has done so since the loop looked last

    cdef int open_bell(self) except -1
    cdef int take(self) except -1
