"""A WebSocket connection as the application holds it."""

from libc.stdint cimport uint32_t, uint64_t

from sockwave.core.flag cimport flag
from sockwave.core.io.transport cimport Transport
from sockwave.core.session.delivery cimport Deliverer
from sockwave.core.session.hub cimport Hub

# How a connection is kept alive, and ended when its time has come: see `keepalive`.
cdef struct Keepalive:
    float round_trip_s          # of the latest ping; negative: not known
    uint32_t ping_due           # of the next ping; or when the one left that is out; 0: none
    uint32_t life_end           # 0: none
    flag awaits_pong            # of a ping that was sent here
    flag is_watched             # a draft, which has no ping: the kernel asks its peer
    flag is_probed              # so it does where there are no pings, since reading was paused

cdef class Connection(Deliverer):
    """One WebSocket connection, whatever its version and whatever carries it."""
    cdef Keepalive keepalive
    cdef list pings             # (payload, when, future) of those that are out; None: none are
    cdef object head            # the opening request: raw bytes until somebody asks for it
    cdef dict own_data
    cdef str chosen_subprotocol
    cdef readonly uint64_t id
    cdef readonly uint64_t dropped_count

    cdef int set_up(self, Hub hub, Transport transport, int version_index, bytes head) except -1
    cdef int open(self, bytes answer, str subprotocol) except -1
    cdef bint try_step(self, int step) except -1
    cdef int take_step(self, int step) except -1
