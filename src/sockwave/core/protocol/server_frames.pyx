"""The frames of a server, read by its client (RFC 6455, section 5).

What a `Reader` refuses as not masked is the rule here, and a mask is the violation: so reading the
frames of clients, which is what servers do, costs nothing for it.
"""

cimport cython
from libc.stdint cimport uint8_t

from sockwave.core.protocol.frames cimport (
    BINARY, CONTINUATION, FIN, LENGTH_16, MASKED, MASKED_FRAME, MAX_SHORT_SIZE, NO_VIOLATION,
    TEXT, UNMASKED_FRAME, Header, check_length,
)
from sockwave.core.protocol.input_buffer cimport Span
from sockwave.core.protocol.reader cimport Found, Reader

cdef enum:
    HEADER_SIZE = 2
    LONGER_HEADER_SIZE = 4      # with a length of 16 bits


cdef inline int find_short(Reader reader, Span* given, Found* found) noexcept:
    """Find a message as most are: one frame, whole in the input, with a length of 7 or 16 bits.
    CONTINUATION: it is something else or a violation, which `next` finds out."""
    cdef const uint8_t* header = given.data
    cdef size_t header_size = HEADER_SIZE
    cdef size_t size
    cdef int opcode
    if given.size < LONGER_HEADER_SIZE or reader.message_opcode or reader.piece_size:
        return CONTINUATION
    opcode = header[0] ^ FIN
    size = header[1]
    if size == LENGTH_16:
        header_size = LONGER_HEADER_SIZE
        size = header[2] << 8 | header[3]
        if size < LENGTH_16:
            return CONTINUATION
    elif size > MAX_SHORT_SIZE:
        return CONTINUATION
    if (
        not TEXT <= opcode <= BINARY or size > given.size - header_size or size > reader.max_size
    ):
        return CONTINUATION
    found.data = header + header_size
    found.size = size
    found.mask = 0
    found.assembled = found.is_deflated = False
    given.data += header_size + size
    given.size -= header_size + size
    return opcode


@cython.no_gc
cdef class ServerFrameReader(Reader):
    """The reader of a client's connection, or the one that such connections share while they are
    between two messages."""

    cdef int next(self, Span* given, Found* found) except? -3:
        cdef int event = find_short(self, given, found)
        if event != CONTINUATION:
            return event
        # 5.1: "A client MUST close a connection if it detects a masked frame." Frames that follow
        # a fragment in the input are looked at below.
        if not self.frame_left and given.size >= HEADER_SIZE and given.data[1] & MASKED:
            return self.violate(found, MASKED_FRAME)
        return Reader.next(self, given, found)

    cdef bint allows(self, Header* header, Found* found) noexcept:
        # 5.1: "A server MUST NOT mask any frames that it sends to the client."
        if found.violation != UNMASKED_FRAME:
            return False
        header.mask = 0             # to unmask with it changes nothing
        found.violation = check_length(header)
        return found.violation == NO_VIOLATION

    cdef int find_whole(
        self, Span* given, const Header* header, Found* found, bint unmasked
    ) noexcept:
        if header.masked:
            return self.violate(found, MASKED_FRAME)
        return Reader.find_whole(self, given, header, found, unmasked)

    cdef int begin_frame(self, const Header* header, Found* found) except? -3:
        if header.masked:
            return self.violate(found, MASKED_FRAME)
        return Reader.begin_frame(self, header, found)
