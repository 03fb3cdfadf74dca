"""Where a body in chunks ends, and what is in it: RFC 9112, section 7.1."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from sockwave.core.protocol.input_buffer cimport Span

cdef enum:
    NAME_SIZE = 17              # of the longest name that no trailer may have

cdef class ChunkedDecoder:
    """Reads one body in chunks, in whatever pieces it comes."""
    cdef object limits
    cdef uint64_t left_size     # of the chunk that is being read: bytes that have not come
    cdef uint64_t content_size  # of all chunks so far
    cdef uint64_t most_size     # `body_size`, or the largest number
    cdef uint64_t chunk_count
    cdef uint32_t line_size     # bytes of the line that is being read
    cdef uint32_t trailer_size, trailer_count
    cdef uint8_t state          # a State
    cdef uint8_t digit_count    # of the chunk's size; stops at 255
    cdef uint8_t name_size      # of the trailer's name; one more than NAME_SIZE: too long to matter
    cdef uint8_t name[NAME_SIZE]
    cdef readonly bint is_done

    cdef bint next_piece(self, Span* given, Span* piece) except -1
    cdef int take_byte(self, uint8_t byte) except -1
    cdef int take_digit(self, uint8_t byte) except -1
    cdef int take_in_trailer(self, uint8_t byte) except -1
    cdef int count_line(self) except -1
    cdef int check_name(self) except -1
    cdef int begin_chunk(self) except -1
