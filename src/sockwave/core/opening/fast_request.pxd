"""The opening request that nearly every client sends, known without weighing anything."""

from libc.stdint cimport uint8_t

cdef enum:
    KEY_SIZE = 24               # of Sec-WebSocket-Key: 16 bytes in base64

cdef struct Span:
    const uint8_t* data
    size_t size

# The fields that count, and how often each stands there. The last of a name is the one kept.
cdef enum:
    HOST
    UPGRADE
    CONNECTION_OPTIONS
    KEY
    VERSION
    ORIGIN
    EXTENSIONS
    SUBPROTOCOLS
    OTHER_WAYS                  # a body, an older version: not plain
    NO_MATTER                   # fields that no rule of the handshake asks about
    KNOWN_COUNT

cdef struct FastRequest:
    size_t line_size            # of the request line, without its line end
    size_t block_size           # of all behind it
    int field_count
    int counts[KNOWN_COUNT]
    Span values[KNOWN_COUNT]

cdef bint is_beginning(const uint8_t* data, size_t size) noexcept nogil
cdef bint parse_fast_request(const uint8_t* data, size_t size, FastRequest* found) noexcept nogil
cdef bint check_fast_request(const FastRequest* found) noexcept nogil
cpdef bytes write_answer(bytes key, bytes fields)
