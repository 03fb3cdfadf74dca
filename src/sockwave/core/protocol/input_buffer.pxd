"""Span that waits: a part of a frame, or all that has come since reading was paused."""

from libc.stdint cimport uint8_t

# The bytes to read, from where reading stopped. They belong to the caller,
# who lets them be changed (unmasked).
cdef struct Span:
    uint8_t* data
    size_t size

cdef class InputBuffer:
    """What one peer has sent and nobody could read yet."""
    cdef uint8_t* held
    cdef size_t held_start, held_size
    cdef uint8_t* lent          # what was kept, while it is being read
    cdef size_t lent_size

    cdef int store(self, const Span* given) except -1
    cdef uint8_t* prepend_input(self, uint8_t* data) noexcept
    cdef uint8_t* release_memory(self) noexcept
    cdef int forget_input(self) noexcept
    cdef uint8_t* take_input(self, size_t* size) noexcept
    cdef int lend_input(self, Span* given) noexcept
    cdef int take_back(self) noexcept
