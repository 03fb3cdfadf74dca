"""Input that waits: a part of a frame, or all that has come since reading was paused."""

from libc.stdint cimport uint8_t

# The bytes to read, from where reading stopped. They belong to the caller,
# who lets them be changed (unmasked).
cdef struct Input:
    uint8_t* data
    size_t size

cdef class Held:
    """What one peer has sent and nobody could read yet."""
    cdef uint8_t* held
    cdef size_t held_start, held_size
    cdef uint8_t* lent          # what was kept, while it is being read
    cdef size_t lent_size

    cdef int hold(self, const Input* given) except -1
    cdef uint8_t* prepend_held(self, uint8_t* data) noexcept
    cdef uint8_t* let_go(self) noexcept
    cdef int forget_held(self) noexcept
    cdef uint8_t* take_held(self, size_t* size) noexcept
    cdef int lend_held(self, Input* given) noexcept
    cdef int take_back(self) noexcept
