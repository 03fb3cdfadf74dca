"""Messages compressed and inflated: RFC 7692, sections 7.2.1 and 7.2.2."""

from libc.stdint cimport uint8_t

from sockwave.core.frames cimport Violation

cdef class Deflater:
    """Compresses what one connection sends, or what all send that have no context takeover."""
    # The one without a context, for the same window: what is sent to many is compressed there.
    # None: this is it.
    cdef Deflater shared
    cdef int window_bits
    cdef object library, settings
    cdef object compressor      # None until it is needed
    cdef object flush_mode
    cdef size_t threshold

    cdef bint wants(self, size_t size, object compress) except -1
    cdef bytes deflate(self, object owner, const uint8_t** data, size_t* size, int* opcode)
    cdef bytes compress(self, object owner, const uint8_t* data, size_t size)
    cdef int start_over(self) noexcept

cdef class Inflater:
    """Inflates what one connection receives, or what all receive without context takeover."""
    cdef int window_bits
    cdef object library, error
    cdef bytearray history      # the end of what was inflated before; None: no context takeover
    cdef size_t max_size

    cdef bytes inflate(self, const uint8_t* data, size_t size, Violation* violation)
    cdef bytes inflate_bounded(self, bytes deflated, Violation* violation)
    cdef int remember(self, bytes message) except -1

cdef class Codecs:
    """What the connections of one server share of permessage-deflate."""
    cdef object library
    cdef dict deflaters, inflaters      # by window bits: those without context takeover
    cdef size_t max_size

    cdef Deflater deflater_for(self, object agreement)
    cdef Inflater inflater_for(self, object agreement)
