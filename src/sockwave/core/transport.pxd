"""The asyncio engine: the same core behind ordinary asyncio transports."""

from libc.stdint cimport uint8_t

from sockwave.core.writer cimport Vector
from sockwave.core.carrier cimport Carrier, Engine

cdef enum:
    # Given to a transport at once: what it may hold beside our own backlog.
    WRITE_SIZE = 65536
    ACCEPT_COUNT = 64           # connections accepted in a row

cdef class AsyncioEngine(Engine):
    """Serves transports of whatever loop it runs in."""
    cdef dict listeners         # socket → what makes the protocol of a connection
    cdef list servers           # asyncio's, where its loop cannot watch a socket
    cdef set tasks              # those that give a socket its transport
    cdef bint is_ending         # nobody comes in any more

    cdef int rest(self, object socket_, object error) except -1

cdef class TransportCarrier(Carrier):
    """A peer behind an asyncio transport."""
    cdef object transport
    cdef uint8_t* place         # where the transport was told to put the next bytes
    cdef bint is_write_paused
    cdef object claimed         # the address that a proxy has told; None: the transport's own

    cdef Py_ssize_t write_out(self, const Vector* vectors, int count) except -2
    cdef void give_up(self) noexcept
