"""The fast request: the opening request that nearly every client sends, answered without HTTP."""

from libc.stdint cimport uint8_t

cdef enum:
    KEY_SIZE = 24               # of Sec-WebSocket-Key: 16 bytes in base64

cdef struct FieldValue:
    const uint8_t* data
    size_t size

# The fields that matter for the handshake.
cdef enum:
    HOST
    UPGRADE
    CONNECTION_OPTIONS
    KEY
    VERSION
    ORIGIN
    EXTENSIONS
    SUBPROTOCOLS
    NOT_FAST                    # fields of a body or of another version: not a fast request
    OTHER_FIELD                 # fields that no rule of the handshake asks about
    KNOWN_COUNT

cdef struct FastRequest:
    size_t line_size            # of the request line, without its line end
    size_t block_size           # of everything behind it
    int field_count
    int counts[KNOWN_COUNT]     # how often each field occurs
    FieldValue values[KNOWN_COUNT]      # of the last one of each name

cdef bint is_partial_request(const uint8_t* data, size_t size) noexcept nogil
cdef bint parse_fast_request(const uint8_t* data, size_t size, FastRequest* found) noexcept nogil
cdef bint check_fast_request(const FastRequest* found) noexcept nogil
cpdef bytes write_answer(bytes key, bytes fields)
