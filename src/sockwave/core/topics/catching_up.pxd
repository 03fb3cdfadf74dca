"""What one connection has missed of a topic, on its way to it."""

from libc.stdint cimport uint32_t, uint64_t

from sockwave.core.session.connection cimport Connection
from sockwave.core.topics.output cimport LinkOutput
from sockwave.core.topics.records cimport Head
from sockwave.core.topics.subscribers cimport Subscribers
from sockwave.core.topics.table cimport TopicTable

cdef class Replay:
    """What one connection has missed of a topic, on its way to it."""
    cdef LinkOutput output
    cdef TopicTable table
    cdef object host            # a `topics.Topics`
    cdef readonly Connection connection
    cdef readonly Subscribers topic
    cdef readonly object future     # of a Subscribed
    cdef readonly object after      # called when the connection has entered; None: nothing
    cdef uint32_t request
    cdef uint64_t epoch, offset     # of the newest message that it has had; with `has_since`
    cdef bint has_since
    cdef bint was_given             # `since`, by the caller
    cdef bint is_recovered          # nothing was missing so far
    cdef readonly bint is_over
    cdef bint is_asking             # for a page that has not come to its end

    cdef int ask(self) except -1
    cdef int ended(self, const Head* head) except -1
    cdef int finish(self) except -1
    cdef int give_up(self, object error) except -1
