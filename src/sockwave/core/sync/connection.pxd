"""What a thread holds of a connection."""

from sockwave.core.sync.session cimport ThreadSession

cdef class Connection:
    """A WebSocket connection for threads without asyncio."""
    cdef ThreadSession session
    cdef object __weakref__

    cdef int begin(self, str call) except -1
    cdef int end(self) except -1

cdef class Deliveries:
    """What the topics of a connection bring, one after the other."""
    cdef Connection connection
