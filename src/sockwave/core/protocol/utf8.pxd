"""UTF-8, checked as it arrives."""

from libc.stdint cimport uint8_t

cdef extern from "utf8.h" nogil:
    # Return the state behind `data`; `state` is the one before it.
    uint8_t utf8_check(uint8_t state, const uint8_t* data, size_t size)
    enum: UTF8_COMPLETE, UTF8_INVALID
