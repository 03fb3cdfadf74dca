"""What happens to a message for a peer that cannot keep up."""

from sockwave.core.io.backlog cimport Backlog, Marks, Segment

# What `slow` may say: see `sockwave.messages.SLOW_POLICIES`.
cdef enum Policy:
    CLOSE_SLOW                  # close with 1013, once there is nothing left to drop
    DROP_NEW                    # drop the message that does not fit
    DROP_OLD                    # make room for it: drop the oldest expendable messages
    CONFLATE                    # the same, and only the newest message of a key waits

cdef inline bint is_expendable(int policy) noexcept:
    """Return whether a message sent under a policy may be dropped while it waits."""
    return policy >= DROP_OLD

# A frame for one peer, and what `make_room` has decided about it.
cdef struct Offer:
    int policy
    size_t size                 # of the frame
    bint may_replace            # an older message of its key may wait
    # Filled in by `make_room`:
    bint is_taken
    bint is_over                # it does not fit unless something is dropped
    Segment* old                # the message that it replaces; NULL: it goes to the end
    size_t dropped_count        # dropped messages, this one among them

cdef int policy_of(object slow, object key, int default) except -1

# Messages for a peer wait in its `queue`, and those that come after a message that is being
# streamed wait in `behind`; NULL: no message is being streamed.
cdef inline size_t waiting_size(const Backlog* queue, const Backlog* behind) noexcept:
    return queue.size + (0 if behind is NULL else behind.size)

cdef inline size_t excess_size(const Marks* marks, size_t waiting, size_t size) noexcept:
    """Return by how many bytes `size` more would pass the cap. The message of a task that waits for
    the high-water mark before it sends is never refused."""
    cdef size_t room = marks.max_backlog - min(waiting, marks.max_backlog)
    return size - room if waiting > marks.high_water and size > room else 0

cdef inline bint is_overfull(
    const Marks* marks, const Backlog* queue, const Backlog* behind, size_t size
) noexcept:
    """Return whether `size` more bytes are too many."""
    return excess_size(marks, waiting_size(queue, behind), size) != 0

cdef int make_room(
    Offer* offer, const Marks* marks, Backlog* queue, Backlog* behind, object key
) except -1
