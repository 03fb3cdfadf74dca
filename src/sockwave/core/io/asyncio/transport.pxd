"""The transport of the asyncio engine: it uses an asyncio transport."""

from libc.stdint cimport uint8_t

from sockwave.core.io.transport cimport Transport
from sockwave.core.io.writer cimport Vector

cdef enum:
    # Bytes given to an asyncio transport at a time: what it may queue beside our own backlog.
    WRITE_SIZE = 65536

cdef class AsyncioTransport(Transport):
    """Carries the bytes of one peer by an asyncio transport; is that transport's protocol."""
    cdef object transport
    cdef uint8_t* place         # where the asyncio transport was told to put the next bytes
    cdef Py_ssize_t held_at     # its index in the engine's list of transports
    cdef bint is_write_paused
    cdef bint goes_on_writing   # at the end of this turn: the asyncio transport takes more
    cdef object claimed         # the address that a proxy has sent; None: use the socket's

    cdef Py_ssize_t write_out(self, const Vector* vectors, int count) except -2
    cdef int read_rest(self) except -1
    cdef int let_transport_go(self) except -1
    cdef void give_up(self) noexcept
    cdef int descriptor(self) except -2         # -1: it is closed

cdef int cover(int fd) except -1
