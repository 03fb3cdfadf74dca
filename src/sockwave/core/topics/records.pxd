"""The records that workers and the sequencer exchange, and the memory in which they wait."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef enum:
    HEAD_SIZE = 40
    MAX_RECORD_SIZE = (64 << 20) + (64 << 10)   # a message of 64 MiB, its id and its meta

# What a record begins with. Both ends run on one machine: little-endian, on all that we know.
cdef packed struct Head:
    uint32_t length         # of the whole record
    uint8_t type
    uint8_t flags
    uint16_t worker         # the link of the publisher; 0: none
    uint32_t topic          # a number of the worker's; on the way back of the sequencer's
    uint32_t request        # of a request and of its answers; 0: none
    uint64_t epoch
    uint64_t offset
    uint64_t sequence       # of the publisher, from 1

# To the sequencer.
cpdef enum:
    HELLO = 1
    SETTINGS = 2
    NAME = 3
    FORGET = 4
    PUB = 5
    SUB = 6
    UNSUB = 7
    JOIN = 8
    LEAVE = 9
    WATCH = 10
    UNWATCH = 11
    COUNT = 12
    COUNTING = 13
    BROADCAST = 14          # to workers, too
    PONG = 15

# To workers.
cpdef enum:
    WELCOME = 65
    NAMED = 66
    MSG = 67
    ACK = 68
    END = 69
    GAP = 70
    MEMBERS = 71
    DIFF = 72
    COUNTED = 73
    COUNT_ASKED = 74
    UNWATCHED = 75
    FORGOTTEN = 76
    PING = 77
    REFUSED = 78
    BROKER = 79             # how the way to other hosts is, in JSON

# Flags; some bits mean different things on different types.
cpdef enum:
    TEXT = 1
    META = 2
    ID = 4
    DELTA = 8
    REPLAY = 16
    MORE = 32
    SINCE = 32              # of SUB
    IS_PATTERN = 32         # of NAME
    RECOVERED = 64          # of END
    ABORTED = 64            # of MSG
    DUPLICATE = 64          # of ACK
    LAST = 128
    SNAPSHOT = 128          # of WATCH

# What is found where a record may begin.
cdef enum RecordCheck:
    INCOMPLETE, WHOLE, BAD_LENGTH, BAD_TYPE

# The parts of the payload of PUB, MSG and BROADCAST.
cdef struct Parts:
    const uint8_t* id
    size_t id_size
    const uint8_t* message
    size_t message_size

# Bytes that wait to be read or sent: `size` of them from `data + begin` on.
# Its owner initializes it with zeros and frees it by `free_buffer`.
cdef struct Buffer:
    uint8_t* data
    size_t begin, size, capacity

cdef RecordCheck check_head(
    const uint8_t* data, size_t size, Head* head, bint is_to_worker
) noexcept nogil
cdef bint split_payload(
    const uint8_t* payload, size_t size, uint8_t flags, Parts* parts
) noexcept nogil
cdef int write_record(
    Buffer* buffer, const Head* head, const uint8_t* payload, size_t size
) except -1

cdef int grow(Buffer* buffer, size_t size) except -1
cdef int free_buffer(Buffer* buffer) noexcept nogil
cdef int trim_buffer(Buffer* buffer, size_t kept_capacity) noexcept nogil


cdef inline uint8_t* add_room(Buffer* buffer, size_t size) except NULL:
    """Lengthen a buffer by `size` bytes and return where the caller must write them."""
    cdef uint8_t* place
    if size > buffer.capacity - buffer.begin - buffer.size:
        grow(buffer, size)
    place = buffer.data + buffer.begin + buffer.size
    buffer.size += size
    return place


cdef inline int append_bytes(Buffer* buffer, const uint8_t* data, size_t size) except -1:
    if size:
        memcpy(add_room(buffer, size), data, size)
    return 0


cdef inline int consume(Buffer* buffer, size_t size) noexcept nogil:
    """Remove the first `size` bytes."""
    buffer.size -= size
    buffer.begin = buffer.begin + size if buffer.size else 0
    return 0
