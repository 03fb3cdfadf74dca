"""Ordinary request heads, parsed in one pass: RFC 9112, sections 3 and 5."""

from libc.stdint cimport uint8_t, uint64_t

cdef struct FieldValue:
    const uint8_t* data
    size_t size

# The fields that a rule of HTTP or of the opening handshake asks about.
cdef enum:
    HOST
    UPGRADE
    CONNECTION_OPTIONS
    CONTENT_LENGTH
    TRANSFER_ENCODING
    EXPECT
    KEY
    VERSION
    ORIGIN
    EXTENSIONS
    SUBPROTOCOLS
    OTHER_HANDSHAKE             # Sec-WebSocket-*, of another version
    OTHER_FIELD                 # fields that no rule asks about
    KNOWN_COUNT

cdef struct Head:
    size_t size                 # of the whole head, with the empty line that ends it
    size_t method_size, target_size
    size_t line_size            # of the request line, without its line end
    size_t block_size           # of everything behind it
    int field_count
    int counts[KNOWN_COUNT]     # how often each field occurs
    FieldValue values[KNOWN_COUNT]      # of the last one of each name

# What `parse_head` has found.
cdef enum HeadStatus:
    ORDINARY                    # a whole head, in which each line is well-formed
    PARTIAL                     # the beginning of one
    UNUSUAL                     # anything else: the strict parser takes it, or refuses it

# How a head says where its body ends.
cdef struct BodyFraming:
    bint is_chunked
    uint64_t size               # by Content-Length; 0: there is no body, if it is not chunked

cdef HeadStatus parse_head(const uint8_t* data, size_t size, Head* head) noexcept nogil
cdef bint find_framing(const Head* head, BodyFraming* framing) noexcept nogil
cdef bint has_common_host(const Head* head) noexcept nogil
cdef bint is_common_host(const FieldValue* host) noexcept nogil
cdef bint is_value(const FieldValue* value, const char* word, size_t size) noexcept nogil
