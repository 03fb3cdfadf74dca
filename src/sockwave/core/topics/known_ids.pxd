"""The ids of messages that were published lately: a second message with one is not delivered."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    ID_LIFE_S = 300     # for so long a publisher may send a message again

# One id of one topic; its bytes follow it in memory.
cdef struct KnownId:
    KnownId* next_alike         # the next in its bucket
    KnownId* newer
    double expires_s
    uint64_t hash
    uint32_t topic              # its number; a topic lives as long as its ids are known
    uint8_t size
    uint64_t epoch, offset      # of the message that had it

# Its owner initializes it by `begin_ids` and frees it by `free_ids`.
cdef struct KnownIds:
    KnownId** buckets
    size_t mask                 # their count - 1
    size_t count, max_count
    KnownId* oldest
    KnownId* newest
    uint64_t seeds[2]           # clients choose ids: they cannot choose where these end up

cdef int begin_ids(KnownIds* ids, size_t max_count) except -1
cdef KnownId* find_id(
    const KnownIds* ids, uint32_t topic, const uint8_t* id, size_t size
) noexcept
cdef KnownId* add_id(
    KnownIds* ids, uint32_t topic, const uint8_t* id, size_t size, double expires_s
) except NULL
cdef uint32_t take_expired(KnownIds* ids, double now_s, size_t new_count) noexcept
cdef int free_ids(KnownIds* ids) noexcept


cdef inline uint8_t* id_bytes(KnownId* known) noexcept nogil:
    return <uint8_t*>(known + 1)
