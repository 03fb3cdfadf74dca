"""The asyncio engine: the same core behind ordinary asyncio transports."""

from sockwave.core.engine cimport Driver, Engine

cdef enum:
    # Connections accepted in a row: each costs a task, a transport and seven calls in the next few
    # turns of the loop, which everybody waits for: 0.1 ms each.
    ACCEPT_COUNT = 2

cdef class AsyncioEngine(Engine):
    """Serves transports of whatever loop it runs in."""
    cdef dict listeners         # socket → what makes the protocol of a connection
    cdef list servers           # asyncio's, where its loop cannot watch a socket
    cdef set tasks              # those that give a socket its transport
    cdef bint is_ending         # nobody comes in any more

    cdef int rest(self, object socket_, object error) except -1
