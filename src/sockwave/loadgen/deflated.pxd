"""Compressed messages for a load, and what inflates their echoes (Linux)."""

from libc.stdint cimport uint8_t, uint32_t

from sockwave.core.protocol.inflation cimport Inflater
from sockwave.loadgen.exchange cimport Exchange, Talker

cdef class DeflatedExchange(Exchange):
    """Compressed documents and their echoes, compressed or not (RFC 7692)."""
    cdef list documents, bodies         # as they are, and compressed
    cdef Inflater inflater              # that of all which keep no context
    cdef bint keeps_context

    cdef int judge(self, Talker who, Talker speaker, size_t head_size) except -1
