"""A WebSocket connection: the object that the application uses."""

from libc.stdint cimport uint64_t

from sockwave.core.io.transport cimport Transport
from sockwave.core.session.delivery cimport Deliverer
from sockwave.core.session.hub cimport Hub
from sockwave.core.session.keepalive cimport Keepalive

cdef class Connection(Deliverer):
    """One WebSocket connection, in any version of the protocol and over any transport."""
    cdef Keepalive keepalive
    cdef object head            # the opening request: raw bytes until the application asks for it
    cdef dict own_data
    cdef str chosen_subprotocol
    cdef readonly uint64_t id
    cdef readonly uint64_t dropped_count

    cdef int set_up(self, Hub hub, Transport transport, int version_index, bytes head) except -1
    cdef int open(self, bytes answer, str subprotocol) except -1
    cdef bint try_step(self, int step) except -1
    cdef int take_step(self, int step) except -1
