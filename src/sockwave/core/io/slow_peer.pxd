"""What becomes of a message for a peer that cannot keep up."""

from libc.stdint cimport uint32_t

from sockwave.core.io.backlog cimport Segment
from sockwave.core.io.writer cimport Cork, Writer

# What `slow` may say: see `sockwave.messages.SLOW_POLICIES`.
cdef enum Policy:
    CLOSE_SLOW                  # fail the peer with 1013, once there is nothing left to drop
    DROP_NEW                    # drop the message that does not fit
    DROP_OLD                    # make room for it: the oldest expendable ones are dropped
    CONFLATE                    # the same, and only the newest message of a key waits

cdef inline bint is_expendable(int policy) noexcept:
    """Say whether what is sent under a policy may be dropped while it waits."""
    return policy >= DROP_OLD

# A frame for one peer. `behind` is what waits for the end of a streamed message, or None.
cdef struct Offer:
    int policy
    bint is_queued
    bint is_over                # it does not fit without something being dropped
    size_t dropped_count        # messages, itself among them

cdef int policy_of(object slow, object key, int default) except -1
cdef bint is_overfull(Writer writer, Writer queued_behind, size_t size) noexcept
cdef int make_offer(Offer* offer, Writer writer, Writer queued_behind, bytes frame, object key) except -1
cdef int join(Writer writer, Writer queued_behind) except -1

cdef size_t waiting_size(Writer writer, Writer queued_behind) noexcept
cdef size_t excess_size(Cork cork, size_t waiting, size_t size) noexcept
cdef bint is_crowded(Writer writer, Writer queued_behind) noexcept
cdef int queue_expendable(Writer queue, bytes frame, bint has_key, object key) except -1
cdef Segment* find_waiting(Writer queue, object key, uint32_t begun_count) except? NULL
cdef int replace(Writer queue, Segment* old, bytes frame) except -1
cdef uint32_t shed(Writer queue, size_t* excess, uint32_t begun_count) noexcept
