"""What a thread holds of a connection."""

from sockwave.core.session.delivery_queue cimport TopicQueue
from sockwave.core.sync.session cimport ThreadSession

cdef class Connection:
    """A WebSocket connection for threads without asyncio."""
    cdef ThreadSession session
    cdef object __weakref__

    cdef int begin(self, str call) except -1
    cdef int end(self) except -1

cdef class Taken:
    """What the topics of a connection bring, one after the other."""
    cdef Connection connection
    cdef TopicQueue queue
    cdef str call               # by which it is taken, for errors
