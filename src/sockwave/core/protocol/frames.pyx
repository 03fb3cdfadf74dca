"""Frame headers of RFC 6455 section 5.2: parsed, checked and written without a Python object."""

from libc.string cimport memcpy

from sockwave.core.limits.counters cimport (
    BYTE_RATE, CONTROL_RATE, FRAGMENT_COUNT, MAX_BACKLOG, MAX_SIZE, MEMORY_BUDGET, MESSAGE_RATE,
    NO_LIMIT, PING_TIMEOUT, Limit,
)
from sockwave.core.protocol.utf8 cimport UTF8_COMPLETE, utf8_check

cdef enum:
    RESERVED = 0x70


cdef bint is_control(uint8_t opcode) noexcept nogil:
    return opcode & 0x8


cdef uint64_t big_endian(const uint8_t* data, int count) noexcept nogil:
    cdef uint64_t value = 0
    cdef int i
    for i in range(count):
        value = value << 8 | data[i]
    return value


cdef bint parse_header(const uint8_t* data, size_t size, Header* header) noexcept nogil:
    """Parse a header; false when `data` has not even its first two bytes.

    When only a part of the header has come, `complete` is false, and neither a 16-bit or 64-bit
    length nor the mask is filled in.
    """
    if size < 2:
        return False
    header.fin = data[0] & FIN != 0
    header.reserved = data[0] & RESERVED
    header.opcode = data[0] & 0xF
    header.masked = data[1] & MASKED != 0
    header.short_length = data[1] & 0x7F
    header.length = header.short_length
    header.size = 2 + (4 if header.masked else 0)
    if header.short_length == LENGTH_16:
        header.size += 2
    elif header.short_length == LENGTH_64:
        header.size += 8
    header.complete = size >= header.size
    if header.complete:
        if header.short_length == LENGTH_16:
            header.length = big_endian(data + 2, 2)
        elif header.short_length == LENGTH_64:
            header.length = big_endian(data + 2, 8)
        if header.masked:
            memcpy(&header.mask, data + header.size - 4, 4)
    return True


cdef inline Violation judge_length(const Header* header) noexcept nogil:
    if header.complete:
        # 5.2: "the minimal number of bytes MUST be used to encode the length"
        if header.short_length == LENGTH_16 and header.length < LENGTH_16:
            return LENGTH_NOT_MINIMAL
        if header.short_length == LENGTH_64:
            # 5.2: "the most significant bit MUST be 0"
            if header.length >> 63:
                return LENGTH_TOP_BIT
            if header.length < 1 << 16:
                return LENGTH_NOT_MINIMAL
    return NO_VIOLATION


cdef Violation check_header(
    const Header* header, uint8_t allowed_reserved, bint in_message
) noexcept nogil:
    """Return the first rule that a client's header breaks, or NO_VIOLATION.

    An incomplete header is checked as far as its first two bytes tell.
    """
    # 5.2: "MUST be 0 unless an extension is negotiated that defines meanings for non-zero values."
    if header.reserved & ~allowed_reserved:
        return RESERVED_BITS
    if is_control(header.opcode):
        if header.opcode > PONG:
            return UNKNOWN_OPCODE
        # 5.5: "All control frames MUST have a payload length of 125 bytes or less and MUST NOT be
        # fragmented."
        if header.short_length > MAX_CONTROL_SIZE:
            return LONG_CONTROL_FRAME
        if not header.fin:
            return FRAGMENTED_CONTROL_FRAME
        # RFC 7692 section 6.1: the "Per-Message Compressed" bit is never set on a control frame.
        if header.reserved:
            return RESERVED_BITS
    elif header.opcode > BINARY:
        # 5.2: "If an unknown opcode is received, the receiving endpoint MUST _Fail the WebSocket
        # Connection_."
        return UNKNOWN_OPCODE
    elif header.opcode == CONTINUATION:
        if not in_message:
            return UNEXPECTED_CONTINUATION
        # RFC 7692 section 6.1: that bit is set on the first fragment only.
        if header.reserved:
            return RESERVED_BITS
    elif in_message:
        return EXPECTED_CONTINUATION
    # 5.1: "The server MUST close the connection upon receiving a frame that is not masked."
    if not header.masked:
        return UNMASKED_FRAME
    return judge_length(header)


cdef Violation check_length(const Header* header) noexcept nogil:
    """Return the rule that the length of a complete header breaks, or NO_VIOLATION."""
    return judge_length(header)


cdef Violation check_close_payload(const uint8_t* payload, size_t size) noexcept nogil:
    """Name the rule of 5.5.1 or 7.4 that the payload of a close frame breaks."""
    cdef int code
    if size == 0:
        return NO_VIOLATION
    # 5.5.1: "If there is a body, the first two bytes of the body MUST be a 2-byte unsigned integer"
    if size == 1:
        return CLOSE_PAYLOAD_SIZE
    code = payload[0] << 8 | payload[1]
    # 7.4.1: 1004 is reserved; 1005, 1006 and 1015 "MUST NOT be set as a status code in a Close
    # control frame".
    # 7.4.2: 0-999 are not used; 1000-2999 are for the protocol and its registry,
    # which ends at 1014.
    if not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
        return CLOSE_CODE
    if utf8_check(UTF8_COMPLETE, payload + 2, size - 2) != UTF8_COMPLETE:
        return CLOSE_REASON
    return NO_VIOLATION


cdef size_t header_size(uint64_t length) noexcept nogil:
    """Return the size of the header that a server writes, which has no mask."""
    return 2 if length < LENGTH_16 else 4 if length < 1 << 16 else 10


cdef size_t write_header(uint8_t* out, uint8_t first_byte, uint64_t length) noexcept nogil:
    """Write the header of an unmasked frame (5.1: "A server MUST NOT mask any frames")
    and return its size."""
    cdef int i
    out[0] = first_byte
    if length < LENGTH_16:
        out[1] = <uint8_t>length
        return 2
    if length < 1 << 16:
        out[1] = LENGTH_16
        out[2] = <uint8_t>(length >> 8)
        out[3] = <uint8_t>length
        return 4
    out[1] = LENGTH_64
    for i in range(8):
        out[2 + i] = <uint8_t>(length >> (56 - 8 * i))
    return 10


# Violation → close code (section 7.4.1); the reason that is sent in the close frame and logged;
# the limit that the client has exceeded, or NO_LIMIT.
CONSEQUENCES = {
    RESERVED_BITS: (1002, "reserved bits are set", NO_LIMIT),
    UNKNOWN_OPCODE: (1002, "unknown opcode", NO_LIMIT),
    UNMASKED_FRAME: (1002, "frame is not masked", NO_LIMIT),
    MASKED_FRAME: (1002, "frame is masked", NO_LIMIT),
    LONG_CONTROL_FRAME: (1002, "control frame is longer than 125 bytes", NO_LIMIT),
    FRAGMENTED_CONTROL_FRAME: (1002, "control frame is fragmented", NO_LIMIT),
    LENGTH_NOT_MINIMAL: (1002, "length is not in its shortest form", NO_LIMIT),
    LENGTH_TOP_BIT: (1002, "top bit of a 64-bit length is set", NO_LIMIT),
    UNEXPECTED_CONTINUATION: (1002, "continuation frame without a message", NO_LIMIT),
    EXPECTED_CONTINUATION: (1002, "new message inside a fragmented message", NO_LIMIT),
    MESSAGE_TOO_BIG: (1009, "message is too big", MAX_SIZE),
    TOO_MANY_FRAGMENTS: (1008, "message has too many fragments", FRAGMENT_COUNT),
    INVALID_UTF8: (1007, "text is not UTF-8", NO_LIMIT),
    CORRUPT_DEFLATE: (1007, "compressed message is corrupt", NO_LIMIT),
    CLOSE_PAYLOAD_SIZE: (1002, "close frame has a payload of one byte", NO_LIMIT),
    CLOSE_CODE: (1002, "close code is not allowed in a frame", NO_LIMIT),
    CLOSE_REASON: (1007, "close reason is not UTF-8", NO_LIMIT),
    DRAFT_LENGTH: (1009, "draft frame length is too long", MAX_SIZE),
    TOO_SLOW: (1013, "peer reads too slowly; retry=1", MAX_BACKLOG),
    NO_PONG: (1011, "peer did not answer a ping in time", PING_TIMEOUT),
    TOO_MANY_MESSAGES: (1008, "too many messages", MESSAGE_RATE),
    TOO_MANY_BYTES: (1008, "too many bytes", BYTE_RATE),
    TOO_MANY_CONTROLS: (1008, "too many pings and pongs", CONTROL_RATE),
    OUT_OF_MEMORY: (1013, "server is short of memory", MEMORY_BUDGET),
}

cdef int consequence_codes[OUT_OF_MEMORY + 1]
cdef Limit consequence_limits[OUT_OF_MEMORY + 1]
for _violation, (_code, _, _limit) in CONSEQUENCES.items():
    consequence_codes[_violation] = _code
    consequence_limits[_violation] = _limit


cdef int violation_code(Violation violation) noexcept nogil:
    return consequence_codes[<int>violation]


cdef str violation_reason(Violation violation):
    return CONSEQUENCES[violation][1]


cdef Limit violation_limit(Violation violation) noexcept nogil:
    return consequence_limits[<int>violation]
