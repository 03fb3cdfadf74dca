"""Frame headers of RFC 6455 section 5.2: parsed, checked and written without a Python object."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from sockwave.core.limits.counters cimport Limit

cdef enum Opcode:
    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10

cdef enum:
    MAX_HEADER_SIZE = 14        # two bytes, a 64-bit length, a mask
    MAX_CONTROL_SIZE = 125      # 5.5: the payload of a control frame
    # The shortest header of a client's frame: two bytes and the mask. It announces a payload of
    # at most MAX_SHORT_SIZE bytes.
    SHORT_HEADER_SIZE = 6
    MAX_SHORT_SIZE = 125
    # Bits of the first byte of a header.
    FIN = 0x80
    RSV1 = 0x40                 # RFC 7692: this message is compressed
    MASKED = 0x80               # a bit of the second byte
    # In place of a length of 7 bits: one of 16 or of 64 bits follows.
    LENGTH_16 = 126
    LENGTH_64 = 127

# What a peer can do wrong. Only `violation_code`, `violation_reason` and `violation_limit` say
# what follows from it: the close code, the reason, and the limit that is counted.
cdef enum Violation:
    NO_VIOLATION
    RESERVED_BITS
    UNKNOWN_OPCODE
    UNMASKED_FRAME
    MASKED_FRAME                # of a server
    LONG_CONTROL_FRAME
    FRAGMENTED_CONTROL_FRAME
    LENGTH_NOT_MINIMAL
    LENGTH_TOP_BIT
    UNEXPECTED_CONTINUATION
    EXPECTED_CONTINUATION
    MESSAGE_TOO_BIG
    TOO_MANY_FRAGMENTS
    INVALID_UTF8
    CORRUPT_DEFLATE
    CLOSE_PAYLOAD_SIZE
    CLOSE_CODE
    CLOSE_REASON
    DRAFT_LENGTH
    TOO_SLOW
    NO_PONG
    TOO_MANY_MESSAGES
    TOO_MANY_BYTES
    TOO_MANY_CONTROLS
    OUT_OF_MEMORY

cdef struct Header:
    uint64_t length             # of the payload
    uint32_t mask               # the four masking bytes as they lie in memory
    uint8_t size                # of the header itself
    uint8_t opcode
    uint8_t reserved            # RSV1 to RSV3, at their places in the first byte
    uint8_t short_length        # the seven bits: 126 and 127 announce a longer form
    bint fin
    bint masked
    bint complete               # false: only the first two bytes have been parsed

cdef bint parse_header(const uint8_t* data, size_t size, Header* header) noexcept nogil
cdef Violation check_header(
    const Header* header, uint8_t allowed_reserved, bint in_message
) noexcept nogil
cdef Violation check_length(const Header* header) noexcept nogil
cdef Violation check_close_payload(const uint8_t* payload, size_t size) noexcept nogil
cdef size_t write_header(uint8_t* out, uint8_t first_byte, uint64_t length) noexcept nogil
cdef size_t header_size(uint64_t length) noexcept nogil
cdef int violation_code(Violation violation) noexcept nogil
cdef str violation_reason(Violation violation)
cdef Limit violation_limit(Violation violation) noexcept nogil
cdef bint is_control(uint8_t opcode) noexcept nogil
