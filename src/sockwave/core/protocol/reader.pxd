"""Frames → messages (RFC 6455 sections 5.4 and 5.5); UTF-8 and limits are checked as bytes come."""

from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from sockwave.core.protocol.frames cimport Header, Violation
from sockwave.core.protocol.input_buffer cimport InputBuffer, Span
from sockwave.core.protocol.inflation cimport Inflation

# What `next` returns beside the opcodes TEXT, BINARY, CLOSE, PING and PONG: nothing whole has come
# yet, a violation, or a piece of a message.
cdef enum:
    NEEDS_MORE = -1
    VIOLATED = -2
    PIECE = 3

# What was found. `data` points into the input or, with `assembled`, into the reader's own message.
# It is valid until the next call.
cdef struct Found:
    const uint8_t* data
    size_t size
    uint32_t mask               # of a message in the input, which the caller has to unmask
    Violation violation
    bint assembled
    bint is_deflated            # RFC 7692: the message is compressed
    bint is_last                # of a piece: it ends its message

cdef class Reader(InputBuffer):
    """The reader of one connection, or the one that connections share while they are between two
    messages."""
    cdef readonly size_t max_size
    cdef size_t whole_max_size  # of a compressed message, which is never given in pieces
    # Above 0: this message, or the next one, is given in pieces of at most this size.
    cdef size_t piece_size
    # The fragments so far, in a block that only the reader refers to (see message_memory).
    cdef PyObject* message
    cdef size_t message_size
    cdef Inflation inflation    # the last message, while it is being inflated: see Session
    cdef uint64_t frame_left    # payload bytes of the current data frame that have not come yet
    cdef uint32_t fragment_count
    cdef uint32_t free_fragment_count   # of one message; each 32 bytes of it allow one more
    cdef uint32_t mask          # for the next payload byte
    cdef uint8_t message_opcode     # 0: not inside a message
    cdef uint8_t utf8_state
    cdef uint8_t allowed_reserved   # the reserved bits that an extension gave a meaning
    cdef uint8_t is_ascii       # what has been assembled is ASCII
    cdef bint is_deflated       # the current message is compressed
    cdef bint frame_fin         # the current data frame is the last of its message

    cdef int next(self, Span* given, Found* found) except? -3
    cdef bint allows(self, Header* header, Found* found) noexcept
    cdef int find_whole(
        self, Span* given, const Header* header, Found* found, bint unmasked
    ) noexcept
    cdef int begin_frame(self, const Header* header, Found* found) except? -3
    cdef int take_payload(self, Span* given, Found* found) except? -3
    cdef int take_piece(self, Span* given, Found* found) except? -3
    cdef int end_message(self, Found* found) noexcept
    cdef int violate(self, Found* found, Violation violation) noexcept

    cdef uint8_t* reserve(self, size_t* size) except? NULL
    cdef bint append(self, const uint8_t* data, size_t size) except -1
    cdef int make_room(self, size_t size) except -1
    cdef int begin_message(self, size_t room) except -1
    cdef size_t memory_size(self) noexcept
    cdef object take_message(self, bint is_text)
    cdef int forget_message(self) noexcept
    cdef bint gives_pieces(self) noexcept
    cdef bytes give_pieces(self, size_t max_size, size_t piece_size)
    cdef int end_pieces(self) noexcept
    cdef size_t next_deflated_size(self, const Span* given) noexcept
    cdef bint is_idle(self) noexcept
