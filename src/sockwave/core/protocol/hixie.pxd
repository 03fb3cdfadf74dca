"""The framing of draft-ietf-hybi-00 section 4.2 (draft-76) and draft-hixie-75 section 4.2."""

from libc.stdint cimport uint8_t, uint64_t

from sockwave.core.protocol.input_buffer cimport Span
from sockwave.core.protocol.reader cimport Found, Reader

cdef enum:
    # Text up to the next FRAME_END; other types below 0x80 look the same and are skipped.
    TEXT_FRAME = 0x00
    FRAME_END = 0xFF
    # The most bytes that a length field may have, of seven bits each. The drafts set no bound;
    # a client that needs more than 35 bits is attacking.
    MAX_LENGTH_SIZE = 5

cdef class HixieReader(Reader):
    """The reader of a draft-75 or draft-76 connection."""
    cdef uint64_t skip_left     # bytes of a frame with a length that are still to be skipped
    cdef bint in_frame          # between the type byte of a frame without length and its FRAME_END
    cdef bint has_close         # draft-76: the client closes by FF 00; draft-75 has no close frame

    cdef int begin_draft_frame(self, Span* given, Found* found) except? -3
    cdef int take_text(self, Span* given, Found* found) except? -3
    cdef int take_text_piece(
        self, Span* given, Found* found, size_t size, bint is_last
    ) except? -3
