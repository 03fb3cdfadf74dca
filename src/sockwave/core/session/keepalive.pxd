"""A connection's time: pings and their round trips, and when it has to end."""

from libc.stdint cimport uint32_t

from sockwave.core.flag cimport flag
from sockwave.core.session.delivery cimport Deliverer

# How a connection is kept alive, and ended when its time has come. The times are ticks of the
# wheel.
cdef struct Keepalive:
    float round_trip_s          # of the latest ping; negative: not known
    uint32_t ping_due           # of the next ping; or when the one left that is out; 0: none
    uint32_t life_end           # 0: none
    flag awaits_pong            # of a ping that was sent here
    flag is_watched             # a draft, which has no ping: the kernel asks its peer
    flag is_probed              # so it does where there are no pings, since reading was paused

# What a connection may have to do when a time has come. It has one deadline at the wheel, for the
# first of them.
cdef enum Duty:
    NOTHING
    SEND_PING
    MISS_PONG
    END_IDLE
    END_LIFE
    STOP_KEEPING                # messages that nobody listens to
    TELL_STUCK                  # that tasks stop the reading, and do not end

cdef int begin_keepalive(Keepalive* keepalive, Deliverer connection) except -1
cdef int keep_time(Keepalive* keepalive, Deliverer connection) except -1
cdef Duty find_duty(Keepalive* keepalive, Deliverer connection, uint32_t* when) noexcept
cdef int note_ping(Deliverer connection, bytes payload, object waiter) except -1
cdef bint settle_pings(Keepalive* keepalive, Deliverer connection, bytes payload) except -1
cdef int end_pings(Deliverer connection) except -1
