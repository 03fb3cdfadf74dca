"""A connection's time: pings and their round trips, and when it has to end."""

from libc.stdint cimport uint32_t

from sockwave.core.session.delivery cimport Deliverer
from sockwave.core.flag cimport flag

# What a connection may have to do when a time has come. The times are ticks of the wheel; a
# connection has one deadline there, for the first of them.
cdef enum Duty:
    NOTHING
    SEND_PING
    MISS_PONG
    END_IDLE
    END_LIFE
    STOP_KEEPING                # messages that nobody listens to
    TELL_STUCK                  # that tasks stop the reading, and do not end

cdef class Keepalive(Deliverer):
    """A connection that is kept alive, and ended when its time has come."""
    cdef list pings             # (payload, when, future) of those that are out; None: none are
    cdef float round_trip_s     # negative: not known
    cdef uint32_t ping_due      # of the next ping; or when the one left that is out; 0: none
    cdef uint32_t life_end      # 0: none
    cdef flag awaits_pong       # of a ping that was sent here
    cdef flag is_watched        # a draft, which has no ping: the kernel asks its peer
    cdef flag is_probed         # so it does where there are no pings, since reading was paused

    cdef int begin_keepalive(self) except -1
    cdef int hear_kernel(self) except -1
    cdef Duty find_duty(self, uint32_t* when) noexcept
    cdef int keep_time(self) except -1
    cdef bint ask_kernel(self) except -1
    cdef int run_duty(self, Duty duty) except -1
    cdef int expect_ping(self) except -1
    cdef int send_ping(self) except -1
    cdef int note_ping(self, bytes payload, object waiter) except -1
    cdef int forget_pings(self, Py_ssize_t count) except -1
    cdef int end_pings(self) except -1
