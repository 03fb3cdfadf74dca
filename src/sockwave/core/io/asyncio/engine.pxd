"""The asyncio engine: the same core behind ordinary asyncio transports."""

from sockwave.core.io.engine cimport Engine
from sockwave.core.io.asyncio.transport cimport AsyncioTransport

cdef class AsyncioEngine(Engine):
    """Serves transports of whatever loop it runs in."""
    cdef dict listeners         # socket → what makes the protocol of a connection
    cdef list servers           # asyncio's, where its loop cannot watch a socket
    cdef dict tasks             # those that give a socket its transport → the socket
    cdef list transports          # those that have come in and are not gone, and empty places behind
    cdef Py_ssize_t held_count  # how many transports those are
    cdef int young_count        # how many have come in since garbage was collected for them
    cdef bint is_ending         # nobody comes in any more

    cdef int hold(self, AsyncioTransport transport) except -1
    cdef int release(self, AsyncioTransport transport) noexcept
    cdef int pause_accepting(self, object socket_, object error) except -1
