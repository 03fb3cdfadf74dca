"""What happens to a message for a peer that cannot keep up.

A policy acts when the backlog would pass its cap. A message sent under "drop_old" or "conflate" is
expendable: it waits in a segment of its own, which can be dropped alone. Everything else stays once
it is queued: messages sent under "close" and "drop_new", control frames, the pieces of a streamed
message (RFC 6455, section 5.4: they are one message), and the front of the queue, whose first bytes
may have been sent.
"""

from libc.stdint cimport uint32_t

from sockwave.core.io.expendable cimport drop_oldest, find_message

from sockwave.messages import SLOW_POLICIES, check_slow

POLICIES = dict(zip(SLOW_POLICIES, (CLOSE_SLOW, DROP_NEW, DROP_OLD, CONFLATE), strict=True))

cdef enum:
    # The memory that a small message in a segment of its own takes, whatever its size: the segment,
    # with room for the queue to grow, and a bytes object.
    LEAST_COST_SIZE = 128


cdef int policy_of(object slow, object key, int default) except -1:
    """Find the policy of one call.

    Raises TypeError or ValueError for one that does not exist, and for a key that does not go with
    it.
    """
    cdef int policy = default
    if slow is not None:
        policy = POLICIES[check_slow(slow)]
    if key is not None:
        if policy != CONFLATE:
            given = next(name for name in POLICIES if POLICIES[name] == policy)
            raise ValueError(f"key: expected with slow='conflate' alone, given with {given!r}")
        try:
            hash(key)
        except TypeError:
            given = type(key).__name__
            raise TypeError(f"key: expected something hashable, given {given}") from None
    return policy


cdef bint is_crowded(const Marks* marks, const Backlog* queue, const Backlog* behind) noexcept:
    """Return whether the segments that wait are so many that they cost more than their bytes."""
    cdef size_t count = queue.count + (0 if behind is NULL else behind.count)
    return count > marks.max_backlog / LEAST_COST_SIZE


cdef int make_room(
    Offer* offer, const Marks* marks, Backlog* queue, Backlog* behind, object key
) except -1:
    """For a frame that does not fit, drop what the policy says; then find the frame's place, if it
    fits now. It replaces a message of its key only in the queue that the frame itself goes to."""
    cdef size_t waiting, excess
    cdef uint32_t dropped_count
    offer.dropped_count = 0
    offer.is_over = False
    while True:
        offer.old = NULL
        if offer.may_replace:
            if behind is NULL:
                offer.old = find_message(queue, key, 1)
            else:
                offer.old = find_message(behind, key, 0)
        waiting = waiting_size(queue, behind)
        if offer.old is not NULL:
            waiting -= offer.old.size
        excess = excess_size(marks, waiting, offer.size)
        if is_expendable(offer.policy) and offer.old is NULL and is_crowded(marks, queue, behind):
            excess = max(excess, 1)
        if excess:
            offer.is_over = True
        if not excess or offer.policy == DROP_NEW:
            break
        dropped_count = drop_oldest(queue, &excess, 1)
        if behind is not NULL:
            dropped_count += drop_oldest(behind, &excess, 0)
        if not dropped_count:
            break
        offer.dropped_count += dropped_count
    offer.is_taken = not excess
    # The frame takes the old message's place: if it went to the end of the queue, a key that
    # changes all the time would never be sent. A frame that does not fit is dropped itself, or
    # costs the peer its connection.
    if offer.old is not NULL or not offer.is_taken and offer.policy != CLOSE_SLOW:
        offer.dropped_count += 1
    return 0
