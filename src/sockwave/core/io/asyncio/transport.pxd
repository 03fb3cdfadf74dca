"""A peer behind an asyncio transport: the transport of the asyncio engine."""

from libc.stdint cimport uint8_t

from sockwave.core.io.transport cimport Transport
from sockwave.core.io.writer cimport Vector

cdef enum:
    # Given to a transport at once: what it may hold beside our own backlog.
    WRITE_SIZE = 65536

cdef class AsyncioTransport(Transport):
    """A peer behind an asyncio transport."""
    cdef object transport
    cdef uint8_t* place         # where the transport was told to put the next bytes
    cdef Py_ssize_t held_at     # its place among the transports that the engine holds
    cdef bint is_write_paused
    cdef bint goes_on_writing   # at the end of this turn: the transport takes more
    cdef object claimed         # the address that a proxy has told; None: the transport's own

    cdef Py_ssize_t write_out(self, const Vector* vectors, int count) except -2
    cdef int read_rest(self) except -1
    cdef int let_transport_go(self) except -1
    cdef void give_up(self) noexcept
    cdef int descriptor(self) except -2         # -1: there is none any more

cdef int cover(int fd) except -1
