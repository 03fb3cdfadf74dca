"""A connection's time: pings and their round trips, and when it has to end."""

from libc.stdint cimport uint32_t

from sockwave.core.session.connection cimport Connection

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

cdef int begin_keepalive(Connection connection) except -1
cdef int keep_time(Connection connection) except -1
cdef Duty find_duty(Connection connection, uint32_t* when) noexcept
cdef int note_ping(Connection connection, bytes payload, object waiter) except -1
cdef bint settle_pings(Connection connection, bytes payload) except -1
cdef int end_pings(Connection connection) except -1
