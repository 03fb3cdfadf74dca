"""Received bytes that cannot be read yet: a part of a frame, or what came while reading paused."""

from libc.stdint cimport uint8_t

# The bytes to read, from where reading stopped. They belong to the caller, but a reader may change
# them: it unmasks them in place.
cdef struct Span:
    uint8_t* data
    size_t size

cdef class InputBuffer:
    """The bytes that one client has sent and the reader has not read yet."""
    cdef uint8_t* kept          # malloc'ed; the bytes begin at `kept_start`
    cdef size_t kept_start, kept_size
    cdef uint8_t* lent          # the buffer being read, from `lend_input` to `take_back`
    cdef size_t lent_size

    cdef int store(self, const Span* given) except -1
    cdef uint8_t* prepend_input(self, uint8_t* data) noexcept
    cdef uint8_t* release_memory(self) noexcept
    cdef int forget_input(self) noexcept
    cdef uint8_t* take_input(self, size_t* size) noexcept
    cdef int lend_input(self, Span* given) noexcept
    cdef int take_back(self) noexcept
