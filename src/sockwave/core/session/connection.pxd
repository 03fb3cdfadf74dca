"""A WebSocket connection: the object that the application uses."""

from libc.stdint cimport uint64_t

from sockwave.core.events.emitter cimport Emitter
from sockwave.core.io.transport cimport Transport
from sockwave.core.session.delivery cimport Deliverer
from sockwave.core.session.hub cimport Hub
from sockwave.core.session.keepalive cimport Keepalive

cdef class Connection(Deliverer):
    """One WebSocket connection, in any version of the protocol and over any transport."""
    cdef Keepalive keepalive
    cdef object head            # the opening request: raw bytes until the application asks for it
    cdef dict own_data
    cdef object subscriptions   # the topics that it hears: see core/topics; None: none
    cdef str chosen_subprotocol
    cdef readonly uint64_t id
    cdef readonly uint64_t dropped_count

    cdef int set_up(self, Hub hub, Transport transport, int version_index, bytes head) except -1
    # Queue a message for the peer: what `send` does but for the awaitable.
    cdef int submit(self, object message, object compress, object slow, object key) except -1
    cdef int open(self, bytes answer, str subprotocol, Emitter route) except -1
    cdef bint try_step(self, int step) except -1
    cdef int take_step(self, int step) except -1
