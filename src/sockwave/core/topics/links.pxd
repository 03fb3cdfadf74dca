"""One link of a worker or publisher, as the sequencer sees it: its records come in, others wait."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from sockwave.core.topics.numbers cimport Numbers
from sockwave.core.topics.records cimport Buffer, Head

cdef class Switch:
    """What takes the records of links: the sequencer."""
    cdef size_t link_cap            # bytes of output above which messages for a link are dropped
    cdef list dirty                 # the links that have got output, or have failed, since
    cdef uint64_t delivered_count, dropped_count
    cdef object read_buffer         # all links are read into it, one after the other

    cdef int take_record(
        self, Link link, const Head* head, const uint8_t* payload, size_t size
    ) except -1
    cdef int begin_take(self) except -1
    cdef int end_take(self, Link link) except -1
    cdef int end_link(self, Link link) except -1
    cdef int drained(self, Link link) except -1

cdef class Origin:
    """One incarnation of a worker, over all of its links: what it has published."""
    cdef uint64_t last_sequence     # the highest that was taken
    cdef uint32_t link_count        # 0 or 1
    cdef double gone_s              # since when it has had no link

cdef class Link:
    cdef Switch switch
    cdef Buffer input               # the beginning of a record
    cdef Buffer output
    cdef Numbers numbers            # the worker's own → Topic; &refused_topic: one that was refused
    cdef dict patterns              # the worker's own number → pattern
    cdef set wanted_patterns
    cdef dict memberships           # Topic → set of the keys of the members that it has there
    cdef set streams                # the topics whose streams it has begun, and not ended
    cdef readonly object failure    # why it has to be closed; None: nothing is wrong
    cdef Origin origin
    cdef uint64_t incarnation
    cdef Buffer gapped              # the topics, uint32_t, of which records were dropped
    cdef size_t oversize            # bytes of the output that are no fault of the worker's
    cdef uint32_t dropped_broadcast_count
    cdef readonly uint16_t id
    cdef readonly bint is_worker    # and no publisher
    cdef readonly bint is_ended
    cdef bint has_greeted
    cdef bint is_dirty              # stands in `dirty`
    cdef bint is_slow               # messages for it are dropped until it has been drained
    cdef bint needs_ack             # of messages of plain topics
    cdef bint has_had_patterns
    cdef int unanswered_count       # pings since its last record

    cdef int take_bytes(self, const uint8_t* data, size_t size) except -1
    cdef int take_rest(self, const uint8_t** data, size_t* size) except -1
    cdef size_t take_whole(self, const uint8_t* data, size_t size) except? 0
    cdef int fail(self, str reason) except -1
    cdef int note_output(self) except -1
    cdef int note_sent(self, size_t size) except -1
    cdef int check_output(self) except -1
