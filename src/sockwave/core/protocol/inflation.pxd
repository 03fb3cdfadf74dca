"""Messages inflated, slice by slice: RFC 7692, section 7.2.2."""

from cpython.object cimport PyObject
from libc.stdint cimport uint8_t

from sockwave.core.protocol.frames cimport Violation

cdef enum:
    # A message that is no longer is inflated in one go: it takes half a millisecond at most.
    SLICE_SIZE = 4096
    # The slices of one that takes far longer than others of its size: an eighth of a millisecond.
    DEAR_SLICE_SIZE = 1024

# Say whether so much lies in messages that are in the middle of being inflated that those have to
# come to their end before another one begins.
cdef bint is_crowded() noexcept

cdef class Inflater

cdef class Inflation:
    """A message that is being inflated, slice by slice."""
    cdef Inflater inflater
    cdef object decompressor
    cdef object deflated        # all of it: bytes, or a memoryview
    cdef object source          # what the decompressor is given next
    cdef size_t deflated_size
    cdef size_t given_size      # of it, including what `source` is a part of
    cdef bint is_dear           # the next slice is to be a short one
    cdef size_t slice_size      # what the last step took and gave, in bytes
    cdef bint is_between        # a slice has been used up, and there is another
    cdef PyObject* block        # what has been inflated; NULL: nothing yet
    cdef size_t size
    cdef size_t parked_size     # as much of it as `is_crowded` knows of
    cdef int opcode             # the caller's: of the message
    cdef bytes message          # at the end

    cdef bint advance(self, Violation* violation) except -1
    cdef bint inflate_slice(self, Violation* violation) except -1
    cdef bint end(self, bytes last) except -1
    cdef int add(self, bytes piece) except -1
    cdef bytes join(self, bytes last)
    cdef int park(self) noexcept
    cdef int unpark(self) noexcept
    cdef size_t room_size(self) noexcept

cdef class Inflater:
    """Inflates what one connection receives, or what all receive without context takeover."""
    cdef int window_bits
    cdef object library, error
    cdef bytearray history      # the end of what was inflated before; None: no context takeover
    cdef size_t max_size

    cdef bytes inflate(self, const uint8_t* data, size_t size, Violation* violation)
    cdef object make_decompressor(self)
    cdef Inflation begin(self, const uint8_t* data, size_t size)
    cdef int remember(self, bytes message) except -1
