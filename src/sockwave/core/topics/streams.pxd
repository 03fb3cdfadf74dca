"""Streams: topics whose messages are pieces of one whole, which can be joined late."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from sockwave.core.flag cimport flag
from sockwave.core.topics.links cimport Link
from sockwave.core.topics.ordered_topic cimport OrderedTopic
from sockwave.core.topics.records cimport Buffer, Head, Parts
from sockwave.core.topics.registry cimport Registry

cdef enum:
    DELTA_COST_SIZE = 4         # what a delta costs beside its bytes

cdef class Stream:
    """The deltas of one topic, from its first to its last."""
    cdef Buffer data            # all of them, one behind the other
    cdef Buffer ends            # uint32_t: where in it each one ends
    cdef flag is_text
    cdef flag has_kind          # a delta that is not empty has come
    cdef flag is_ended, is_aborted
    cdef Link producer          # None: it has ended
    cdef double ended_s

    cdef uint32_t end_of(self, uint64_t offset) noexcept

cdef int append_delta(
    Registry registry, Link link, OrderedTopic topic, const Head* cause, Head* message,
    const uint8_t* payload, size_t size, const Parts* parts,
) except -1
cdef int abort_stream(Registry registry, OrderedTopic topic) except -1
cdef int write_stream(
    OrderedTopic topic, Link link, uint32_t request, uint64_t since
) except -1
cdef int check_watched(Registry registry, OrderedTopic topic) except -1
cdef int forget_stream(Registry registry, OrderedTopic topic) except -1
