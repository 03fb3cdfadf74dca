"""Masked frames, as clients send them (RFC 6455, section 5.3)."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    MASK_SIZE = 4

cdef uint32_t next_mask() except? 0
cdef size_t masked_header_size(uint64_t length) noexcept nogil
cdef int write_masked(
    uint8_t* out, uint8_t first_byte, uint32_t mask, const uint8_t* data, size_t size
) noexcept nogil
cdef bytes masked_frame_of(uint8_t first_byte, uint32_t mask, const uint8_t* data, size_t size)
cdef bytes mask_frame(bytes frame)
