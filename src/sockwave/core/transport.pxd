"""The asyncio engine: the same core behind ordinary asyncio transports."""

from libc.stdint cimport uint8_t

from sockwave.core.carrier cimport Carrier, Engine

cdef enum:
    # Given to a transport at once: what it may hold beside our own backlog.
    WRITE_SIZE = 65536

cdef class AsyncioEngine(Engine):
    """Serves transports of whatever loop it runs in."""
    cdef list servers           # asyncio's

cdef class TransportCarrier(Carrier):
    """A peer behind an asyncio transport."""
    cdef object transport
    cdef uint8_t* place         # where the transport was told to put the next bytes
    cdef bint is_write_paused
