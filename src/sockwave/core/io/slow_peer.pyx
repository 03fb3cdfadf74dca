"""What becomes of a message for a peer that cannot keep up.

A policy acts where the backlog would pass its cap. What is sent under "drop_old" or "conflate" is
expendable: it waits in a segment of its own, and is dropped by dropping that. Everything else, once
it is queued, stays: messages sent under "close" and "drop_new", control frames, the pieces of a
streamed message (RFC 6455, section 5.4: they are one message), and the front of the queue, of which
the first bytes may be on the wire.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from sockwave.core.io.backlog cimport Segment
from sockwave.core.io.writer cimport Cork

from sockwave.messages import SLOW_POLICIES, check_slow

POLICIES = dict(zip(SLOW_POLICIES, (CLOSE_SLOW, DROP_NEW, DROP_OLD, CONFLATE), strict=True))

cdef enum:
    # What a small message that waits by itself costs, whatever its size: a segment, with room for
    # the queue to grow, and a bytes object.
    LEAST_COST_SIZE = 128
    # Keys whose messages have left are forgotten when there are so many more than messages.
    SPARE_KEY_COUNT = 64


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


cdef size_t waiting_size(Writer writer, Writer queued_behind) noexcept:
    return writer.backlog_size + (0 if queued_behind is None else queued_behind.backlog_size)


cdef size_t excess_size(Cork cork, size_t waiting, size_t size) noexcept:
    """Say how far `size` bytes more would pass the cap. Whoever waits for the high-water mark is
    never refused."""
    cdef size_t room = cork.max_backlog - min(waiting, cork.max_backlog)
    return size - room if waiting > cork.high_water and size > room else 0


cdef bint is_overfull(Writer writer, Writer queued_behind, size_t size) noexcept:
    """Say whether `size` more bytes are too many."""
    return excess_size(writer.cork, waiting_size(writer, queued_behind), size) != 0


cdef bint is_crowded(Writer writer, Writer queued_behind) noexcept:
    """Say whether what waits is so much in number that it costs more than its bytes."""
    cdef size_t count = writer.count + (0 if queued_behind is None else queued_behind.count)
    return count > writer.cork.max_backlog / LEAST_COST_SIZE


cdef int make_offer(Offer* offer, Writer writer, Writer queued_behind, bytes frame, object key) except -1:
    """Queue a frame if it fits, and tell what was dropped for it, or whether it was dropped."""
    cdef Writer queue = writer if queued_behind is None else queued_behind
    cdef size_t size = PyBytes_GET_SIZE(frame)
    cdef size_t waiting, excess
    cdef uint32_t shed_count
    cdef Segment* old = NULL
    offer.dropped_count = 0
    offer.is_over = False
    while True:
        waiting = waiting_size(writer, queued_behind)
        if offer.policy == CONFLATE:
            old = find_waiting(queue, key, 0 if queue is queued_behind else 1)
            if old is not NULL:
                waiting -= old.size
        excess = excess_size(writer.cork, waiting, size)
        if is_expendable(offer.policy) and old is NULL and is_crowded(writer, queued_behind):
            excess = max(excess, 1)
        if excess:
            offer.is_over = True
        if not excess or offer.policy == DROP_NEW:
            break
        shed_count = shed(writer, &excess, 1)
        if queued_behind is not None:
            shed_count += shed(queued_behind, &excess, 0)
        if not shed_count:
            break
        offer.dropped_count += shed_count
    offer.is_queued = not excess
    if old is not NULL:
        # In the place of the old one: from the end of the queue, a key that changes all the time
        # would never leave.
        offer.dropped_count += 1
        replace(queue, old, frame)
    elif offer.is_queued and not is_expendable(offer.policy):
        queue.share(frame)
    elif offer.is_queued:
        queue_expendable(queue, frame, offer.policy == CONFLATE, key)
    elif offer.policy != CLOSE_SLOW:
        offer.dropped_count += 1
    return 0


cdef int queue_expendable(Writer queue, bytes frame, bint has_key, object key) except -1:
    if not queue.share_expendable(frame):
        return 0
    if has_key:
        if queue.places is None:
            queue.places = {}
        elif <size_t>len(queue.places) > queue.count + SPARE_KEY_COUNT:
            passed = queue.row.passed_count
            queue.places = {old: place for old, place in queue.places.items() if place >= passed}
        queue.places[key] = queue.row.passed_count + queue.count - 1
    return queue.queued()


cdef Segment* find_waiting(Writer queue, object key, uint32_t begun_count) except? NULL:
    """Find the message of `key` that waits behind the first `begun_count` segments; NULL when there
    is none, or when nothing has to wait."""
    cdef Segment* segment
    cdef uint64_t place, passed
    if queue.places is None or not queue.is_blocked:
        return NULL
    found = queue.places.get(key)
    if found is None:
        return NULL
    place = found
    passed = queue.row.passed_count
    if place < passed + begun_count or place >= passed + queue.count:
        return NULL
    segment = &queue.row.segments[queue.first + <uint32_t>(place - passed)]
    # Where it has been dropped, its place is that of something kept: see `shed`.
    return segment if segment.is_expendable else NULL


cdef int replace(Writer queue, Segment* old, bytes frame) except -1:
    """Put a frame in the place of one that waits."""
    cdef PyObject* owner = old.owner
    queue.backlog_size += PyBytes_GET_SIZE(frame) - old.size
    Py_INCREF(frame)
    old.owner = <PyObject*>frame
    old.data = <const uint8_t*>PyBytes_AS_STRING(frame)
    old.size = PyBytes_GET_SIZE(frame)
    Py_DECREF(<object>owner)
    return 0


cdef uint32_t shed(Writer queue, size_t* excess, uint32_t begun_count) noexcept:
    """Drop the oldest messages that may be dropped, until `excess` bytes are, and count them.

    What stays in front of them moves up to what stays behind, so that the long part of the queue
    keeps its place. All that stays in front, but for what has begun, may not be dropped.
    """
    cdef uint32_t begin = queue.first
    cdef uint32_t end = begin + queue.count
    cdef uint32_t kept, i
    cdef uint32_t dropped_count = 0
    cdef Segment* segment
    i = begin + begun_count
    while i < end and queue.row.segments[i].continues:
        i += 1
    while i < end and excess[0]:
        segment = &queue.row.segments[i]
        i += 1
        if segment.is_expendable:
            excess[0] -= min(excess[0], segment.size)
            queue.backlog_size -= segment.size
            Py_DECREF(<object>segment.owner)
            segment.owner = NULL
            dropped_count += 1
    if dropped_count:
        kept = i
        while i > begin:
            i -= 1
            if queue.row.segments[i].owner is not NULL:
                kept -= 1
                queue.row.segments[kept] = queue.row.segments[i]
        queue.first = kept
        queue.count = end - kept
        queue.row.passed_count += dropped_count
        if not queue.count:
            queue.advance(0)
    return dropped_count


cdef int join(Writer writer, Writer queued_behind) except -1:
    """Let follow on the line what has waited behind a streamed message."""
    cdef Segment* segment
    cdef uint64_t offset = 0 if writer.row is NULL else writer.row.passed_count + writer.count
    cdef uint64_t place
    cdef uint32_t i
    for i in range(queued_behind.count):
        segment = &queued_behind.row.segments[queued_behind.first + i]
        writer.append(<object>segment.owner, segment.data, segment.size, segment.continues)
        writer.row.segments[writer.first + writer.count - 1].is_expendable = segment.is_expendable
    for key, place in (queued_behind.places or {}).items():
        if place >= queued_behind.row.passed_count:
            if writer.places is None:
                writer.places = {}
            writer.places[key] = place - queued_behind.row.passed_count + offset
    return writer.queued()
