"""Logs that the broker keeps for all hosts, and what this host has of them: replicas."""

from libc.stdint cimport uint8_t, uint64_t

from sockwave.core.topics.links cimport Link
from sockwave.core.topics.ordered_topic cimport OrderedTopic
from sockwave.core.topics.parcels cimport Parcel
from sockwave.core.topics.placements cimport Placements
from sockwave.core.topics.records cimport Buffer, Head
from sockwave.core.topics.registry cimport Registry
from sockwave.core.topics.shared_log cimport SharedLog

cdef class SharedLogs:
    cdef Registry registry
    cdef object note            # called when there is something for the broker's client
    cdef Placements placements
    cdef list reads             # the names of topics of which a page is asked for
    cdef list stream_reads      # the same, of streams
    cdef uint64_t last_number
    cdef Buffer scratch         # of a message that is put together
    cdef readonly uint64_t heard_count, bad_count

    cdef list find_readings(self, list names, bint are_streams)
    cdef int begin_read(self, OrderedTopic topic, bint is_whole) except -1
    cdef int ask_page(self, OrderedTopic topic, SharedLog log) except -1
    cdef int keep_subscription(self, OrderedTopic topic, Link link, const Head* head) except -1
    cdef int heard(
        self, OrderedTopic topic, uint64_t epoch, uint64_t offset, const uint8_t* data, size_t size
    ) except -1
    cdef bint accept(
        self, OrderedTopic topic, uint64_t offset, const uint8_t* data, size_t size, double age_s,
        bint is_news,
    ) except -1
    cdef int take_delta(
        self, OrderedTopic topic, uint64_t offset, const Parcel* parcel, Head* head, double age_s
    ) except -1
    cdef int begin_stream(self, OrderedTopic topic, SharedLog log) except -1
    cdef int lose_stream(self, OrderedTopic topic) except -1
    cdef int skip_to(self, OrderedTopic topic, SharedLog log, uint64_t offset) except -1
    cdef int take_page(
        self, OrderedTopic topic, SharedLog log, uint64_t top, double now_ms, list entries
    ) except -1
    cdef int end_read(self, OrderedTopic topic, SharedLog log, bint has_moved) except -1
    cdef bint take_ahead(self, OrderedTopic topic, SharedLog log, bint has_moved) except -1
    cdef int go_live(self, OrderedTopic topic, SharedLog log) except -1
    cdef int answer_waiting(self, OrderedTopic topic, SharedLog log) except -1
    cdef int leave(self, OrderedTopic topic) except -1
    cdef int lose(self) except -1
    cdef int lose_shard(self, object is_lost) except -1
    cdef int lose_topic(self, OrderedTopic topic) except -1
