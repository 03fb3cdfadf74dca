"""A load on a server: clients that send messages and check the replies (Linux)."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from sockwave.loadgen.client cimport Target
from sockwave.loadgen.exchange cimport Exchange, LoadClient
from sockwave.loadgen.latencies cimport Latencies
from sockwave.core.io.epoll.system cimport poller_event

cdef enum:
    EVENT_COUNT = 256           # the most events taken from the kernel at once

cdef uint64_t now_ns() noexcept nogil       # of the monotonic clock

cdef class Load:
    """Clients of one target, in one thread and one epoll."""
    cdef Target target
    cdef list clients
    cdef int poller, timer      # timer: a timerfd, readable when the next client sends; -1: none
    cdef poller_event events[EVENT_COUNT]
    cdef uint8_t* place         # READ_SIZE bytes
    cdef double timeout_s
    cdef uint64_t last_event_ns

    cdef Exchange exchange
    # The only client that sends; every client gets the replies. None: each client sends, and gets
    # its own replies.
    cdef LoadClient sender
    cdef uint64_t awaited       # replies that have not come yet
    cdef LoadClient current     # the client served last, which an error is about
    cdef bint is_finishing      # nothing more is sent
    cdef Py_ssize_t next_sender     # index of the client that sends when the timer fires
    cdef readonly uint64_t count        # replies in this run
    cdef readonly Latencies latencies   # of those replies, since their batch was written

    cdef bint connect(self, Py_ssize_t index, int address_count) except -1  # true: it is open
    cdef int watch(self, LoadClient client) except -1
    cdef int wait(self, uint64_t end_ns) except -1      # returns the number of events
    cdef int serve(self, uint64_t end_ns) except -1
    cdef int prepare(self, LoadClient client, bint sends) except -1
    cdef int send_batch(self, LoadClient client) except -1
    cdef int write(self, LoadClient client) except -1
    cdef int receive_replies(self, LoadClient client) except -1
    # `count` more replies have come at `ns`.
    cdef int note_replies(
        self, LoadClient client, LoadClient sender, uint32_t count, uint64_t ns
    ) except -1
    cdef int see_end(self, LoadClient client) except -1
    cdef bint awaits_ends(self) noexcept
    cdef int send_due(self) except -1
    cdef int await_all(self) except -1
