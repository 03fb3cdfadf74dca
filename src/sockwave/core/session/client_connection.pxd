"""A client's WebSocket connection: the same, in the other role."""

from libc.stdint cimport uint64_t

from sockwave.core.io.arrival cimport Arrival
from sockwave.core.session.connection cimport Connection

cdef class ClientConnection(Connection):
    """A connection that we have opened: what it sends is masked, and the server closes first."""
    cdef readonly object response_headers   # the Headers of the server's answer
    # Gives the key of a message, of which the newest is kept while it waits; None: all are kept.
    cdef object conflate
    cdef dict places            # key → the number of the last message with it, of all that waited
    cdef uint64_t queued_count  # messages that have waited so far
    # When the bytes have come that are read now. None: `lag` is not asked for.
    cdef Arrival arrival
    cdef double arrived_s       # when those have that were read last, in seconds since 1970
    cdef list stamps            # the same for the messages that wait, and the one taken before them

    cdef int leave(self, object code) except -1     # close; nobody takes messages any more
    cdef object find_key(self, object message)
    cdef int queue_by_key(self, object key, object message, size_t size) except -1
    cdef Py_ssize_t find_older(self, object key) except -2
    cdef int queue_last(self, object message, size_t size) except -1
