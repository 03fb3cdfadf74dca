"""A worker's end of its link to the sequencer: records out of calls, and calls out of records."""

from libc.stdint cimport uint8_t, uint64_t

from sockwave.core.topics.records cimport Buffer, Head
from sockwave.core.topics.numbers cimport Numbers
from sockwave.core.topics.output cimport LinkOutput
from sockwave.core.topics.reception cimport Reception
from sockwave.core.topics.submissions cimport Submissions
from sockwave.core.topics.subscribers cimport Subscribers
from sockwave.core.topics.table cimport TopicTable
from sockwave.core.topics.uplink cimport Uplink

cdef class SequencerLink(Uplink):
    """A worker's end of its link to the sequencer, without the socket."""
    cdef readonly TopicTable table
    cdef object host            # a `topics.Topics`
    cdef readonly LinkOutput output
    cdef readonly Submissions submissions
    cdef Reception reception
    cdef Buffer input           # of a record that has not come as a whole
    cdef readonly uint64_t incarnation  # of this worker
    cdef Numbers numbers        # the sequencer's -> Subscribers, borrowed

    cdef int opened(self) except -1

    cdef int take_bytes(self, const uint8_t* data, size_t size) except -1
    cdef Py_ssize_t take_records(self, const uint8_t* data, size_t size) except -1
    cdef int take_record(self, const Head* head, const uint8_t* payload, size_t size) except -1
    cdef Subscribers topic_of(self, const Head* head)
    cdef int heard_name(self, const Head* head, const uint8_t* payload, size_t size) except -1
    cdef int heard_refusal(self, const Head* head, const uint8_t* payload, size_t size) except -1
    cdef int not_wanted(self, Subscribers topic, object error) except -1
