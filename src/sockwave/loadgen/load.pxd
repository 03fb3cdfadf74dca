"""A load on a server: connections that speak, hear, and check what they hear (Linux)."""

from libc.stdint cimport uint8_t, uint64_t

from sockwave.loadgen.client cimport Target
from sockwave.loadgen.exchange cimport Exchange, Talker
from sockwave.loadgen.latencies cimport Latencies
from sockwave.core.io.epoll.system cimport poller_event

cdef enum:
    EVENT_COUNT = 256           # taken from the kernel at once

cdef class Load:
    """Connections to one target, in one thread and one epoll."""
    cdef Target target
    cdef list talkers
    cdef int poller, timer      # timer: a descriptor that says when the next one speaks; -1: none
    cdef poller_event events[EVENT_COUNT]
    cdef uint8_t* place         # READ_SIZE bytes
    cdef double patience_s
    cdef uint64_t last_event_ns

    cdef Exchange exchange
    cdef Talker speaker         # who alone speaks, and all hear; None: each hears itself
    cdef uint64_t awaited       # replies that have to come
    cdef Talker at_hand         # whom the last thing that was tried was for
    cdef bint is_finishing      # nothing more is said
    cdef Py_ssize_t turn        # of those that speak by the timer
    cdef readonly uint64_t count        # replies in this run
    cdef readonly Latencies latencies   # theirs, from the writing of their batch

    cdef int dial(self, Py_ssize_t index, int address_count) except -1
    cdef int wait(self, uint64_t end_ns) except -1      # gives the number of events
    cdef int serve(self, uint64_t end_ns) except -1
    cdef int speak(self, Talker who) except -1
    cdef int write(self, Talker who) except -1
    cdef int hear(self, Talker who) except -1
    cdef int take_turns(self) except -1
    cdef int await_all(self) except -1
