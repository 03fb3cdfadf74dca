"""A connection's deadlines: pings and their round trips, and when the connection has to end."""

from libc.stdint cimport uint32_t

from sockwave.core.flag cimport flag
from sockwave.core.session.delivery cimport Deliverer

# When a connection is pinged, and when it ends. The times are ticks of the wheel.
cdef struct Keepalive:
    float round_trip_s          # of the latest ping; negative: not known
    # When the next ping is due; while a pong is awaited, when its ping was sent; 0: no pings.
    uint32_t ping_due
    uint32_t life_end           # when `max_lifetime` ends; 0: never
    flag awaits_pong            # of a ping of `ping_interval`
    flag is_watched             # a draft, which has no ping: TCP keepalive probes the peer
    flag is_probed              # the same where pings are off, since reading was paused

# What a connection may have to do at some time. It has one deadline at the wheel, for the duty that
# is due first.
cdef enum Duty:
    NOTHING
    SEND_PING
    MISS_PONG
    END_IDLE
    END_LIFE
    STOP_KEEPING                # drop messages, as there is no listener and no task for them
    TELL_STUCK                  # warn that tasks stop the reading, and do not end

cdef int begin_keepalive(Keepalive* keepalive, Deliverer connection) except -1
cdef int keep_time(Keepalive* keepalive, Deliverer connection) except -1
cdef Duty find_duty(Keepalive* keepalive, Deliverer connection, uint32_t* when) noexcept
cdef int note_ping(Deliverer connection, bytes payload, object waiter) except -1
cdef bint settle_pings(Keepalive* keepalive, Deliverer connection, bytes payload) except -1
cdef int end_pings(Deliverer connection) except -1
