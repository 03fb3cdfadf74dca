"""Inflating messages, slice by slice: RFC 7692, section 7.2.2."""

from cpython.object cimport PyObject
from libc.stdint cimport uint8_t

from sockwave.core.protocol.frames cimport Violation

cdef enum:
    # A message of at most this size is inflated in one step, which takes half a millisecond at
    # most.
    SLICE_SIZE = 4096
    # The slices of one that takes far longer than others of its size: an eighth of a millisecond.
    DEAR_SLICE_SIZE = 1024

# True: the messages of the process that are partly inflated take so much memory together that they
# have to be finished before another one is begun.
cdef bint is_crowded() noexcept

cdef class Inflater

cdef class Inflation:
    """A message that is being inflated, slice by slice."""
    cdef Inflater inflater
    cdef object decompressor
    cdef object deflated        # the whole compressed message: bytes, or a memoryview
    cdef object source          # the part of it that the decompressor is given next
    cdef size_t deflated_size
    cdef size_t given_size      # the bytes of it up to the end of the slice that `source` is from
    cdef bint is_dear           # the next slice is to be a short one
    cdef size_t slice_size      # the bytes that went into the last step and came out of it
    cdef bint is_between        # a slice has been used up, and there is another
    cdef PyObject* block        # what has been inflated; NULL: nothing yet
    cdef size_t size
    cdef size_t parked_size     # the bytes of it that are counted for `is_crowded`
    cdef int opcode             # of the message; set and used by the caller
    cdef bytes message          # the result; None until then

    cdef bint advance(self, Violation* violation) except -1
    cdef bint inflate_slice(self, Violation* violation) except -1
    cdef bint end(self, bytes last) except -1
    cdef int add(self, bytes piece) except -1
    cdef bytes join(self, bytes last)
    cdef int park(self) noexcept
    cdef int unpark(self) noexcept
    cdef size_t memory_size(self) noexcept

cdef class Inflater:
    """Inflates the messages of one connection, or of all that have no context takeover."""
    cdef int window_bits
    cdef object library, error
    cdef bytearray history      # the end of what was inflated before; None: no context takeover
    cdef size_t max_size

    cdef bytes inflate(self, const uint8_t* data, size_t size, Violation* violation)
    cdef object make_decompressor(self)
    cdef Inflation begin(self, const uint8_t* data, size_t size)
    cdef int remember(self, bytes message) except -1
