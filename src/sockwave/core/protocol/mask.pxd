"""Masking (RFC 6455, section 5.3)."""

from libc.stdint cimport uint8_t, uint32_t

cdef extern from "mask.h" nogil:
    # `to` is `start` itself, or does not overlap it. True: the result is ASCII.
    bint unmask(uint8_t* to, const uint8_t* start, size_t size, uint32_t key)
    # The key for the byte behind `count` bytes.
    uint32_t mask_rotate(uint32_t key, size_t count)
