"""What the sequencer sends a worker: which message is next, which are missing, who gets them."""

from libc.stdint cimport uint8_t, uint64_t

from sockwave.core.session.connection cimport Connection
from sockwave.core.session.session cimport Session
from sockwave.core.topics.output cimport LinkOutput
from sockwave.core.topics.records cimport Head, Parts
from sockwave.core.topics.rendering cimport Rendering
from sockwave.core.topics.submissions cimport Submissions
from sockwave.core.topics.subscribers cimport Subscribers
from sockwave.core.topics.table cimport TopicTable

cdef class Reception:
    """The messages that the sequencer sends a worker."""
    cdef TopicTable table
    cdef object host            # a `topics.Topics`
    cdef LinkOutput output
    cdef Submissions submissions
    cdef size_t missed_count    # messages of plain topics that the sequencer has dropped for us

    cdef Rendering render(
        self, Subscribers topic, const Head* head, const uint8_t* payload, const Parts* parts
    )
    cdef int heard_message(
        self, Subscribers topic, const Head* head, const uint8_t* payload, size_t size
    ) except -1
    cdef int heard_missed(
        self, Subscribers topic, const Head* head, const uint8_t* payload, size_t size
    ) except -1
    cdef bint is_next(self, Subscribers topic, const Head* head) except -1
    cdef Py_ssize_t hand_out(
        self, Subscribers topic, const Head* head, const uint8_t* payload, size_t size,
        Session besides, Connection single,
    ) except -1
    cdef int tell_all(self, Subscribers topic, Rendering rendering) except -1
    cdef int heard_end(self, const Head* head) except -1
    cdef int filled(self, Subscribers topic, const Head* head) except -1
    cdef int heard_gap(self, Subscribers topic, const Head* head) except -1
    cdef int tell_abortion(self, Subscribers topic) except -1
    cdef int tell_gap_at(self, Subscribers topic, uint64_t epoch, uint64_t offset) except -1
    cdef int heard_broadcast(
        self, const Head* head, const uint8_t* payload, size_t size
    ) except -1
