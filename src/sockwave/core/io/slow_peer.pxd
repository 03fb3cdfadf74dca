"""What becomes of a message for a peer that cannot keep up."""

from sockwave.core.io.backlog cimport Backlog, Marks, Segment

# What `slow` may say: see `sockwave.messages.SLOW_POLICIES`.
cdef enum Policy:
    CLOSE_SLOW                  # fail the peer with 1013, once there is nothing left to drop
    DROP_NEW                    # drop the message that does not fit
    DROP_OLD                    # make room for it: the oldest expendable ones are dropped
    CONFLATE                    # the same, and only the newest message of a key waits

cdef inline bint is_expendable(int policy) noexcept:
    """Say whether what is sent under a policy may be dropped while it waits."""
    return policy >= DROP_OLD

# A frame for one peer, and what can be done with it.
cdef struct Offer:
    int policy
    size_t size                 # of the frame
    bint may_replace            # an older message of its key may wait
    # The answer of `make_room`:
    bint is_taken
    bint is_over                # it does not fit without something being dropped
    Segment* old                # the message whose place it takes; NULL: it takes the last one
    size_t dropped_count        # messages, itself among them

cdef int policy_of(object slow, object key, int default) except -1

# What waits for a peer waits in its queue, and `behind` the end of a streamed message; that is NULL
# where none is sent.
cdef inline size_t waiting_size(const Backlog* queue, const Backlog* behind) noexcept:
    return queue.size + (0 if behind is NULL else behind.size)

cdef inline size_t excess_size(const Marks* marks, size_t waiting, size_t size) noexcept:
    """Say how far `size` bytes more would pass the cap. Whoever waits for the high-water mark is
    never refused."""
    cdef size_t room = marks.max_backlog - min(waiting, marks.max_backlog)
    return size - room if waiting > marks.high_water and size > room else 0

cdef inline bint is_overfull(
    const Marks* marks, const Backlog* queue, const Backlog* behind, size_t size
) noexcept:
    """Say whether `size` more bytes are too many."""
    return excess_size(marks, waiting_size(queue, behind), size) != 0

cdef int make_room(
    Offer* offer, const Marks* marks, Backlog* queue, Backlog* behind, object key
) except -1
