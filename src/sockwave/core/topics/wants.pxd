"""Which topics come to a worker: what it asks the sequencer for, and who is told when they come."""

from libc.stdint cimport uint64_t

from sockwave.core.topics.output cimport LinkOutput
from sockwave.core.topics.subscribers cimport Subscribers

# Whether a topic's messages come to this worker.
cdef enum WantState:
    UNWANTED
    ASKED                       # the sequencer has not answered yet
    WANTED

cpdef bint ask_for(LinkOutput output, Subscribers topic) except -1
cdef int ask_for_missed(LinkOutput output, Subscribers topic) except -1
cdef int ask_for_all(LinkOutput output, Subscribers topic) except -1
cdef int confirm(Subscribers topic) except -1
cdef int settle_waiters(Subscribers topic) except -1
cpdef object subscribed_at(Subscribers topic)
cdef int confirm_at(Subscribers topic, uint64_t epoch, uint64_t offset) except -1
cdef bint has_log(Subscribers topic) except -1
