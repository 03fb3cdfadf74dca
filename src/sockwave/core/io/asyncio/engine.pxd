"""The asyncio engine: the same core on top of ordinary asyncio transports."""

from sockwave.core.io.engine cimport Engine
from sockwave.core.io.asyncio.transport cimport AsyncioTransport

cdef class AsyncioEngine(Engine):
    """Serves clients by the transports of the loop that it runs in, of any kind."""
    cdef dict listeners         # listening socket → function that makes the protocol of a client
    cdef list servers           # asyncio's servers, if its loop cannot watch a socket
    cdef dict tasks             # task that makes the transport of a socket → the socket
    cdef list transports        # admitted and not closed yet; the places after those are empty
    cdef Py_ssize_t held_count  # how many transports those are
    cdef int young_count        # how many were admitted since garbage was last collected here
    cdef bint is_ending         # no client is admitted any more

    cdef int hold(self, AsyncioTransport transport) except -1
    cdef int release(self, AsyncioTransport transport) noexcept
    cdef int pause_accepting(self, object socket_, object error) except -1
