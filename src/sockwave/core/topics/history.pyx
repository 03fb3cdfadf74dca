"""The messages that topics keep: a ring for each topic, one budget for all."""

from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from sockwave.core.topics.records cimport HEAD_SIZE, append_bytes

cdef enum:
    FIRST_CAPACITY = 4


cdef int grow_ring(History* history) except -1:
    cdef uint32_t capacity = 2 * history.capacity if history.capacity else FIRST_CAPACITY
    cdef Message** ring = <Message**>malloc(capacity * sizeof(Message*))
    cdef uint64_t offset
    if ring is NULL:
        raise MemoryError
    for offset in range(history.first_offset, history.first_offset + history.count):
        ring[offset & (capacity - 1)] = message_at(history, offset)
    free(history.ring)
    history.ring = ring
    history.capacity = capacity
    return 0


cdef int keep(
    Store* store, History* history, const Head* head, const uint8_t* payload, size_t size,
    double now_s,
) except -1:
    """Keep a message, whose offset follows that of the newest one, and apply all bounds."""
    cdef Message* message
    if history.count == history.capacity:
        grow_ring(history)
    message = <Message*>malloc(sizeof(Message) + size)
    if message is NULL:
        raise MemoryError
    message.head = head[0]
    message.head.length = <uint32_t>(HEAD_SIZE + size)
    memcpy(message + 1, payload, size)
    message.kept_s = now_s
    message.history = history
    message.newer = NULL
    message.older = store.newest
    if store.newest is NULL:
        store.oldest = message
    else:
        store.newest.newer = message
    store.newest = message
    if not history.count:
        history.first_offset = head.offset
    history.ring[head.offset & (history.capacity - 1)] = message
    history.count += 1
    history.size += size + MESSAGE_COST_SIZE
    store.size += size + MESSAGE_COST_SIZE
    store.count += 1
    apply_bounds(store, history, now_s)
    return evict(store)


cdef int drop_oldest(Store* store, History* history) noexcept:
    """Drop the oldest message of a history that has one."""
    cdef Message* message = message_at(history, history.first_offset)
    cdef size_t size = message.head.length - HEAD_SIZE + MESSAGE_COST_SIZE
    history.first_offset += 1
    history.count -= 1
    history.size -= size
    store.size -= size
    store.count -= 1
    if message.older is NULL:
        store.oldest = message.newer
    else:
        message.older.newer = message.newer
    if message.newer is NULL:
        store.newest = message.older
    else:
        message.newer.older = message.older
    free(message)
    return 0


cdef int apply_bounds(Store* store, History* history, double now_s) except -1:
    """Drop the messages that are too many, too large together, or too old."""
    while history.count > history.max_count or history.count and (
        history.size > history.max_size
        or history.ttl_s > 0
        and now_s - message_at(history, history.first_offset).kept_s >= history.ttl_s
    ):
        drop_oldest(store, history)
    return 0


cdef int evict(Store* store) except -1:
    """Drop the oldest messages of all topics until the others fit into the budget."""
    cdef History* history
    while store.size > store.budget_size and store.oldest is not NULL:
        history = store.oldest.history
        if history.count == 1:
            append_bytes(&store.emptied, <const uint8_t*>&history.topic, sizeof(uint32_t))
        drop_oldest(store, history)
        store.evicted_count += 1
    return 0


cdef int clear_history(Store* store, History* history) noexcept:
    """Drop all messages of a topic, and free the memory."""
    while history.count:
        drop_oldest(store, history)
    free(history.ring)
    history.ring = NULL
    history.capacity = 0
    return 0
