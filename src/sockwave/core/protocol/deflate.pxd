"""Compressing messages (RFC 7692, section 7.2.1), and what a server's connections share for it."""

from libc.stdint cimport uint8_t

from sockwave.core.protocol.inflation cimport Inflater

cdef class Compressor:
    """Compresses for all connections of a server that have the same window size."""
    cdef int window_bits
    cdef object library, settings
    cdef object compressor      # None until it is needed
    cdef size_t threshold       # shorter messages are sent uncompressed
    cdef size_t history_size    # the most bytes of earlier messages that a message may refer to

    cdef bytes deflate(
        self, object owner, const uint8_t** data, size_t* size, int* opcode, bytes history
    )
    cdef bytes compress(self, object source)
    cdef bytes compress_with_history(self, bytes history, object source)
    cdef bytes end_of(self, bytes before, const uint8_t* data, size_t size)

cdef class Deflater:
    """Compresses the messages of one connection, or of all that have no context takeover."""
    cdef Compressor compressor
    cdef bint has_context       # with context takeover
    # The end of the messages that the client was sent compressed: the next message may refer to
    # it. None: the next message may refer to nothing.
    cdef bytes history
    cdef bytes next_history     # `history` once the message that is being sent is certain to stay

    cdef bint wants(self, size_t size, object compress) except -1
    cdef bytes deflate(
        self, object owner, const uint8_t** data, size_t* size, int* opcode, bint is_expendable
    )
    cdef int sending(self, bytes history) noexcept
    cdef int was_sent(self) noexcept

cdef class Codecs:
    """What the connections of one server share for permessage-deflate."""
    cdef object library
    # Window bits → what connections without context takeover share.
    cdef dict deflaters, inflaters
    cdef size_t max_size

    cdef Deflater deflater_for(self, object agreement)
    cdef Inflater inflater_for(self, object agreement)
