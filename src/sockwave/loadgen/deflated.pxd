"""Compressed messages for a load, and checking their echoes (Linux)."""

from libc.stdint cimport uint8_t, uint32_t

from sockwave.core.protocol.inflation cimport Inflater
from sockwave.loadgen.exchange cimport Exchange, LoadClient

cdef class DeflatedExchange(Exchange):
    """Compressed documents and their echoes, compressed or not (RFC 7692)."""
    cdef list documents, bodies         # the same texts: as they are, and compressed
    cdef Inflater inflater              # shared by all clients, without context takeover
    cdef bint keeps_context

    cdef int check_reply(self, LoadClient client, LoadClient sender, size_t head_size) except -1
