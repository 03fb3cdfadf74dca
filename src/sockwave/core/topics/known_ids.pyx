"""The ids of messages that were published lately: a second message with one is not delivered."""

import os

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy

cdef enum:
    FIRST_CAPACITY = 64


cdef inline uint64_t rotate(uint64_t value, int count) noexcept nogil:
    return value << count | value >> (64 - count)


cdef int sip_round(uint64_t* v) noexcept nogil:
    v[0] += v[1]
    v[1] = rotate(v[1], 13) ^ v[0]
    v[0] = rotate(v[0], 32)
    v[2] += v[3]
    v[3] = rotate(v[3], 16) ^ v[2]
    v[0] += v[3]
    v[3] = rotate(v[3], 21) ^ v[0]
    v[2] += v[1]
    v[1] = rotate(v[1], 17) ^ v[2]
    v[2] = rotate(v[2], 32)
    return 0


cdef uint64_t hash_id(
    const uint64_t* seeds, uint32_t topic, const uint8_t* id, size_t size
) noexcept nogil:
    """Return SipHash-1-3 of an id; the topic takes part as one more word at the front."""
    cdef uint64_t[4] v
    cdef uint64_t word = topic
    cdef size_t left = size
    cdef bint is_last = False
    v[0] = seeds[0] ^ 0x736F6D6570736575ULL
    v[1] = seeds[1] ^ 0x646F72616E646F6DULL
    v[2] = seeds[0] ^ 0x6C7967656E657261ULL
    v[3] = seeds[1] ^ 0x7465646279746573ULL
    while True:
        v[3] ^= word
        sip_round(v)
        v[0] ^= word
        if is_last:
            break
        word = 0
        if left < 8:
            memcpy(&word, id, left)
            word |= <uint64_t>(size & 0xFF) << 56
            is_last = True
        else:
            memcpy(&word, id, 8)
            id += 8
            left -= 8
    v[2] ^= 0xFF
    sip_round(v)
    sip_round(v)
    sip_round(v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


cdef int begin_ids(KnownIds* ids, size_t max_count) except -1:
    cdef bytes seeds = os.urandom(sizeof(ids.seeds))
    memcpy(ids.seeds, PyBytes_AS_STRING(seeds), sizeof(ids.seeds))
    ids.oldest = ids.newest = NULL
    ids.count = 0
    ids.max_count = max_count
    ids.mask = FIRST_CAPACITY - 1
    ids.buckets = <KnownId**>calloc(FIRST_CAPACITY, sizeof(KnownId*))
    if ids.buckets is NULL:
        raise MemoryError
    return 0


cdef KnownId* find_id(
    const KnownIds* ids, uint32_t topic, const uint8_t* id, size_t size
) noexcept:
    """Return what is known of an id; NULL: nothing."""
    cdef uint64_t hash = hash_id(ids.seeds, topic, id, size)
    cdef KnownId* known = ids.buckets[hash & ids.mask]
    while known is not NULL and not (
        known.hash == hash and known.topic == topic and known.size == size
        and not memcmp(id_bytes(known), id, size)
    ):
        known = known.next_alike
    return known


cdef KnownId* add_id(
    KnownIds* ids, uint32_t topic, const uint8_t* id, size_t size, double expires_s
) except NULL:
    """Note an id that is not known yet; it expires behind all others. The caller fills in the place
    of its message, and has made room by `take_expired`."""
    cdef KnownId* known
    if ids.count > ids.mask:
        double_buckets(ids)
    known = <KnownId*>malloc(sizeof(KnownId) + size)
    if known is NULL:
        raise MemoryError
    memcpy(id_bytes(known), id, size)
    known.hash = hash_id(ids.seeds, topic, id, size)
    known.topic = topic
    known.size = <uint8_t>size
    known.expires_s = expires_s
    known.next_alike = ids.buckets[known.hash & ids.mask]
    ids.buckets[known.hash & ids.mask] = known
    known.newer = NULL
    if ids.newest is NULL:
        ids.oldest = known
    else:
        ids.newest.newer = known
    ids.newest = known
    ids.count += 1
    return known


cdef int double_buckets(KnownIds* ids) except -1:
    cdef size_t mask = 2 * ids.mask + 1
    cdef KnownId** buckets = <KnownId**>calloc(mask + 1, sizeof(KnownId*))
    cdef KnownId* known = ids.oldest
    if buckets is NULL:
        raise MemoryError
    while known is not NULL:
        known.next_alike = buckets[known.hash & mask]
        buckets[known.hash & mask] = known
        known = known.newer
    free(ids.buckets)
    ids.buckets = buckets
    ids.mask = mask
    return 0


cdef uint32_t take_expired(KnownIds* ids, double now_s, size_t new_count) noexcept:
    """Forget the oldest id, if it has expired or there is no room for `new_count` more; return the
    number of its topic, or 0."""
    cdef KnownId* known = ids.oldest
    cdef KnownId** place
    cdef uint32_t topic
    if known is NULL or known.expires_s > now_s and ids.count + new_count <= ids.max_count:
        return 0
    place = &ids.buckets[known.hash & ids.mask]
    while place[0] != known:
        place = &place[0].next_alike
    place[0] = known.next_alike
    ids.oldest = known.newer
    if ids.oldest is NULL:
        ids.newest = NULL
    ids.count -= 1
    topic = known.topic
    free(known)
    return topic


cdef int free_ids(KnownIds* ids) noexcept:
    cdef KnownId* known
    while ids.oldest is not NULL:
        known = ids.oldest
        ids.oldest = known.newer
        free(known)
    free(ids.buckets)
    ids.buckets = NULL
    ids.newest = NULL
    ids.count = 0
    return 0
