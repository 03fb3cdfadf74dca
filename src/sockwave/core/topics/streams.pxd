"""Streams: topics whose messages are pieces of one whole, which can be joined late."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from sockwave.core.flag cimport flag
from sockwave.core.topics.links cimport Link
from sockwave.core.topics.ordered_topic cimport OrderedTopic
from sockwave.core.topics.records cimport Buffer, Head, Parts
from sockwave.core.topics.registry cimport Registry

cdef enum:
    UNWATCHED_S = 10
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
    # Where the broker gives the places.
    cdef flag is_partial        # there was no room for it, or something of it is missing
    cdef flag is_begun          # a delta of ours may be its first one
    cdef flag is_placed         # the broker has taken one of ours, so that `epoch` is the stream's
    cdef flag is_ours           # the broker has told that a worker of ours produces it
    cdef flag is_told           # to be unwatched
    cdef flag is_aborting       # its producer has gone: the broker is handed its end
    cdef int ask_count          # how often other hosts were asked who watches it
    cdef uint64_t epoch, placed     # of the newest delta of ours that has its place

    cdef int note_place(self, uint64_t epoch, uint64_t offset) except -1
    cdef bint is_of(self, Link link) noexcept
    cdef int let_go(self, OrderedTopic topic) except -1
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
cdef int tell_unwatched(OrderedTopic topic, Stream stream) except -1
cdef bytes objection_of(bytes code, size_t limit=*)
cdef bint keep_piece(
    Registry registry, OrderedTopic topic, uint64_t offset, const uint8_t* data, size_t size,
    bint is_text,
) except -1
cdef int spoil_stream(Registry registry, OrderedTopic topic) except -1
cdef int clear_stream(Registry registry, Stream stream) except -1
cdef int note_end(
    Registry registry, OrderedTopic topic, Stream stream, bint is_aborted, double age_s
) except -1
cdef int abort_replica(Registry registry, OrderedTopic topic) except -1
cdef int dissolve_stream(Registry registry, OrderedTopic topic) except -1
cdef int forget_stream(Registry registry, OrderedTopic topic) except -1
