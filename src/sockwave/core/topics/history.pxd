"""The messages that topics keep: a ring for each topic, one budget for all."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from sockwave.core.topics.records cimport Buffer, Head

cdef enum:
    MESSAGE_COST_SIZE = 64      # what a message counts beside its payload

# One message, as it is sent; its payload follows it in memory.
cdef struct Message:
    Message* older              # of all topics
    Message* newer
    History* history
    double kept_s               # since when
    Head head                   # as it was sent

# The messages of one topic, oldest first: that with offset N stands at N & (capacity - 1).
# Its owner initializes it with zeros and frees it by `clear_history`.
cdef struct History:
    Message** ring              # NULL: nothing was kept yet
    uint32_t capacity           # a power of 2
    uint32_t count
    uint64_t first_offset       # of the oldest, or of the next one that is kept
    size_t size                 # of all payloads, and MESSAGE_COST_SIZE for each
    uint32_t topic              # the number of the topic
    # The bounds of the settings.
    uint32_t max_count
    size_t max_size
    double ttl_s                # 0: none

# The messages of all topics.
# Its owner initializes it with zeros and frees `emptied`; histories are cleared by theirs.
cdef struct Store:
    Message* oldest
    Message* newest
    size_t size, budget_size
    uint64_t count, evicted_count
    Buffer emptied              # the topics, uint32_t, that have lost their last message since

cdef int keep(
    Store* store, History* history, const Head* head, const uint8_t* payload, size_t size,
    double now_s,
) except -1
cdef int apply_bounds(Store* store, History* history, double now_s) except -1
cdef int evict(Store* store) except -1
cdef int clear_history(Store* store, History* history) noexcept


cdef inline Message* message_at(const History* history, uint64_t offset) noexcept nogil:
    """Return a message that is kept."""
    return history.ring[offset & (history.capacity - 1)]


cdef inline const uint8_t* payload_of(const Message* message) noexcept nogil:
    return <const uint8_t*>(message + 1)
