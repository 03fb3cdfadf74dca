"""Messages compressed (RFC 7692, section 7.2.1), and what a server's connections share of it."""

from libc.stdint cimport uint8_t

from sockwave.core.protocol.inflation cimport Inflater

cdef class Compressor:
    """Compresses for all connections of a server that have the same window."""
    cdef int window_bits
    cdef object library, settings
    cdef object compressor      # None until it is needed
    cdef size_t threshold
    cdef size_t history_size    # of what a message may refer to

    cdef bytes deflate(
        self, object owner, const uint8_t** data, size_t* size, int* opcode, bytes history
    )
    cdef bytes compress(self, object source)
    cdef bytes compress_behind(self, bytes history, object source)
    cdef bytes end_of(self, bytes before, const uint8_t* data, size_t size)

cdef class Deflater:
    """Compresses what one connection sends, or what all send that have no context takeover."""
    cdef Compressor compressor
    cdef bint has_context
    # The end of what the peer was sent compressed: what the next message may refer to. None: it may
    # not refer to anything.
    cdef bytes history
    cdef bytes next_history     # … once the message at hand is sent

    cdef bint wants(self, size_t size, object compress) except -1
    cdef bytes deflate(
        self, object owner, const uint8_t** data, size_t* size, int* opcode, bint is_expendable
    )
    cdef int sending(self, bytes history) noexcept
    cdef int was_sent(self) noexcept

cdef class Codecs:
    """What the connections of one server share of permessage-deflate."""
    cdef object library
    # By window bits: those without context takeover.
    cdef dict deflaters, inflaters
    cdef size_t max_size

    cdef Deflater deflater_for(self, object agreement)
    cdef Inflater inflater_for(self, object agreement)
