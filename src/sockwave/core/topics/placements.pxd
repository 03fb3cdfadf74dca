"""Messages to which the broker is to give their places."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from sockwave.core.topics.links cimport Link
from sockwave.core.topics.ordered_topic cimport OrderedTopic
from sockwave.core.topics.records cimport Head, Parts
from sockwave.core.topics.registry cimport Registry, TopicSettings
from sockwave.core.topics.shared_log cimport SharedLog

# A message that was handed to the broker, or will be.
cdef class Submission:
    cdef Link link
    cdef bytes name, parcel, id
    cdef Head head              # as it came
    cdef uint64_t epoch, offset     # 0: the broker has not answered yet
    cdef tuple bounds           # of the topic's history
    # Of a delta of a stream.
    cdef bint is_delta, is_first
    cdef bytes kind, end        # b"t", b"b", or nothing; b"f": finished, b"a": aborted
    cdef size_t size

cdef tuple bounds_of(OrderedTopic topic)
cdef tuple bounds_of_settings(TopicSettings settings)

cdef class Placements:
    cdef Registry registry
    cdef object note            # called when there is something for the broker's client
    cdef object is_away         # of a topic's name, whether its shard is; None: there is one
    cdef dict submissions       # (incarnation, sequence) → Submission, in order
    cdef dict heard             # deltas that have come, and have no answer yet: the same
    cdef list unsent            # the keys of those that are to be sent in this session
    cdef list unsent_deltas     # the same, of streams
    cdef uint64_t last_number   # of those that have no sequence
    cdef size_t queue_size
    cdef readonly size_t queued_size
    cdef readonly size_t large_size     # what of that large messages are

    cdef int submit(
        self, Link link, OrderedTopic topic, const Head* head, const uint8_t* payload, size_t size
    ) except -1
    cdef bint has(self, Link link, tuple key) except -1
    cdef bint is_full(self, size_t size) noexcept
    cdef int keep(
        self, Link link, OrderedTopic topic, const Head* head, tuple key, Submission submission,
        bytes meta, const Parts* parts, list unsent,
    ) except -1
    cdef int put(
        self, Link link, OrderedTopic topic, const Head* head, tuple key, Submission submission,
        dict meta, const Parts* parts,
    ) except -1
    cdef list take_unsent(self, bint is_delta)
    cdef int note_heard(self, tuple key, Submission submission) except -1
    cdef int refuse_with(self, tuple key, bytes reason) except -1
    cdef Submission find(self, OrderedTopic topic, tuple key)
    cdef int remove(self, tuple key) except -1
    cdef int finish(self, tuple key) except -1
    cdef int tell_place(self, Submission submission) except -1
    cdef int settle(self, OrderedTopic topic, SharedLog log, bint is_left) except -1
    cdef int lose(self) except -1
    cdef int lose_shard(self, object is_lost) except -1
