"""A connection's deadlines: pings and their round trips, and when the connection has to end.

RFC 6455, section 5.5.2: "A Ping frame may serve either as a keepalive or as a means to verify that
the remote endpoint is still responsive."
"""

import random
import secrets

from libc.math cimport ceil
from libc.stdint cimport UINT32_MAX

from sockwave.core.io.transport cimport Probes
from sockwave.core.io.engine cimport Engine
from sockwave.core.protocol.frames cimport NO_PONG, PING
from sockwave.core.session.hub cimport Hub
from sockwave.core.session.closing cimport (
    CONNECTED, PEER_VANISHES, WE_CLOSE, advance_closing, closed_error, end_with,
)
from sockwave.core.limits.counters cimport IDLE_TIMEOUT, MAX_LIFETIME
from sockwave.core.io.timers cimport STALE_TICKS

from sockwave.close import CloseCode, encode_close

cdef enum:
    PAYLOAD_SIZE = 4            # of a ping, so that no pong answers it by chance
    # TCP sends so many probes, or one for each second of the timeout if that is fewer.
    PROBE_COUNT = 4

# A fraction of the interval between two pings, to either side: it spreads the pings of clients that
# have connected at the same time.
cdef double PING_JITTER = 0.1

# How a connection is closed at the end of its time: the limit, the close code and the reason.
# 7.4.1: "1001 indicates that an endpoint is "going away"".
ENDINGS = {
    END_IDLE: (IDLE_TIMEOUT, CloseCode.GOING_AWAY, "nothing has been said for too long"),
    END_LIFE: (MAX_LIFETIME, CloseCode.GOING_AWAY, "connection has lasted long enough"),
}


cdef double vary(double value, double jitter):
    """Return a random value that is up to the fraction `jitter` smaller or larger than `value`."""
    return value * (1 - jitter + 2 * jitter * random.random())


# ---- the times

cdef int begin_keepalive(Keepalive* keepalive, Deliverer connection) except -1:
    """Start the times of a connection that has just opened."""
    cdef Hub hub = connection.hub
    engine = connection.transport.engine
    connection.heard = connection.sent = engine.wheel.tick
    if hub.max_lifetime:
        seconds = vary(hub.max_lifetime, hub.lifetime_jitter)
        keepalive.life_end = engine.wheel.tick_in(engine.loop.time(), seconds)
    if not connection.is_draft():
        expect_ping(keepalive, connection)
    elif hub.ping_ticks:
        keepalive.is_watched = ask_kernel(connection)
    return keep_time(keepalive, connection)


cdef bint ask_kernel(Deliverer connection) except -1:
    """Let TCP probe the peer, with the times of pings, where no pings are sent."""
    cdef Probes probes
    limits = connection.hub.limits
    interval = limits.ping_interval or limits.idle_timeout
    timeout = limits.ping_timeout or interval
    probes.count = min(max(int(timeout), 1), PROBE_COUNT)
    probes.idle_s = <int>ceil(interval)
    probes.interval_s = <int>ceil(timeout / probes.count)
    probes.patience_ms = 1000 * (probes.idle_s + probes.interval_s * probes.count)
    return connection.transport.probe(&probes)


cdef int hear_kernel(Keepalive* keepalive, Deliverer connection) except -1:
    """Check whether the peer is there while reading is paused for the application, and its pongs
    are not read: the peer's kernel acknowledges the pings."""
    cdef Hub hub = connection.hub
    cdef Engine engine = connection.transport.engine
    cdef uint32_t tick = engine.wheel.tick
    cdef uint32_t silence_ticks
    cdef bint has_pings = hub.ping_ticks and hub.pong_ticks and not connection.is_draft()
    if not connection.transport.find_silence(&silence_ticks) or not has_pings:
        if not (keepalive.is_watched or keepalive.is_probed or has_pings) and (
            hub.ping_ticks or hub.idle_ticks
        ):
            keepalive.is_probed = True
            ask_kernel(connection)      # TCP ends the connection if the peer is gone
        connection.heard = tick
    elif connection.transport.measure_untaken():
        # Bytes are on their way to the peer. The silence says whether its kernel has acknowledged
        # earlier ones.
        if silence_ticks < tick:
            connection.heard = max(connection.heard, tick - silence_ticks)
    else:
        connection.heard = tick
        if keepalive.awaits_pong:        # ping again: the peer may have gone since
            keepalive.awaits_pong = False
            connection.pings = [ping for ping in connection.pings or () if ping[2] is not None]
            expect_ping(keepalive, connection)
    return 0


cdef Duty find_duty(Keepalive* keepalive, Deliverer connection, uint32_t* when) noexcept:
    """Find the next duty, and the tick at which it is due."""
    cdef Hub hub = connection.hub
    cdef Duty duty = NOTHING
    cdef uint32_t other
    when[0] = UINT32_MAX
    if keepalive.life_end:
        when[0] = keepalive.life_end
        duty = END_LIFE
    if keepalive.awaits_pong:
        # Any byte from the peer shows that it is there: its pong may have to wait behind the rest
        # of a long frame.
        other = max(connection.heard, keepalive.ping_due) + hub.pong_ticks + STALE_TICKS
        if other < when[0]:
            when[0] = other
            duty = MISS_PONG
    elif keepalive.ping_due and keepalive.ping_due < when[0]:
        when[0] = keepalive.ping_due
        duty = SEND_PING
    if hub.idle_ticks:
        other = max(connection.heard, connection.sent) + hub.idle_ticks + STALE_TICKS
        if other < when[0]:
            when[0] = other
            duty = END_IDLE
    if connection.inbox is not None and connection.inbox.due and connection.inbox.due < when[0]:
        when[0] = connection.inbox.due
        duty = STOP_KEEPING
    if connection.stuck_at and connection.stuck_at < when[0]:
        when[0] = connection.stuck_at
        duty = TELL_STUCK
    return duty


cdef int keep_time(Keepalive* keepalive, Deliverer connection) except -1:
    """Do the duties that are due, and set the deadline of the next one."""
    cdef uint32_t tick = connection.transport.engine.wheel.tick
    cdef uint32_t when
    cdef Duty duty
    if connection.is_postponed or not connection.transport.is_flushed():
        # The peer's bytes have not been read, or our ping waits behind a backlog, which
        # `write_timeout` limits: so the peer's silence means nothing.
        connection.heard = tick
    elif connection.must_wait():
        hear_kernel(keepalive, connection)
        if connection.transport.is_lost:
            return 0
    elif keepalive.is_watched and (
        connection.reader is None or not connection.reader.message_opcode
    ):
        # TCP's probes show that the peer is there. But a peer that stops in the middle of a message
        # counts as silent.
        connection.heard = tick
    duty = find_duty(keepalive, connection, &when)
    while duty != NOTHING and when <= tick and connection.state == CONNECTED:
        run_duty(keepalive, connection, duty)
        duty = find_duty(keepalive, connection, &when)
    if connection.state == CONNECTED:
        connection.transport.ask_for(0 if duty == NOTHING else when)
    return 0


cdef int run_duty(Keepalive* keepalive, Deliverer connection, Duty duty) except -1:
    if duty == SEND_PING:
        return send_ping(keepalive, connection)
    if duty == MISS_PONG:
        connection.note_rest()
        return end_with(connection, NO_PONG, PEER_VANISHES)
    if duty == STOP_KEEPING:
        return connection.stop_keeping()
    if duty == TELL_STUCK:
        return connection.tasks_are_stuck()
    limit, code, reason = ENDINGS[duty]
    connection.transport.engine.limit_counters.count(limit)
    return advance_closing(connection, WE_CLOSE, encode_close(code, reason))


# ---- pings

cdef int expect_ping(Keepalive* keepalive, Deliverer connection) except -1:
    """Set the time of the next ping."""
    cdef uint32_t tick
    cdef Hub hub = connection.hub
    cdef double ticks
    if hub.ping_ticks:
        ticks = vary(hub.ping_ticks, PING_JITTER)
        tick = connection.transport.engine.wheel.tick
        keepalive.ping_due = tick + <uint32_t>ceil(ticks)
    return 0


cdef int send_ping(Keepalive* keepalive, Deliverer connection) except -1:
    cdef bytes payload = secrets.token_bytes(PAYLOAD_SIZE)
    if connection.hub.pong_ticks:
        keepalive.awaits_pong = True
        keepalive.ping_due = connection.transport.engine.wheel.tick
    else:
        # No timeout waits for the pong: at most one such ping is remembered, for the round trip.
        connection.pings = [ping for ping in connection.pings or () if ping[2] is not None]
        expect_ping(keepalive, connection)
    return note_ping(connection, payload, None)


cdef int note_ping(Deliverer connection, bytes payload, object waiter) except -1:
    # Without those that the application has stopped to wait for.
    connection.pings = [
        ping for ping in connection.pings or () if ping[2] is None or not ping[2].done()
    ]
    # The loop's clock, which may be a virtual one: see `sockwave.testing`.
    connection.pings.append((payload, connection.transport.engine.clock(), waiter))
    return connection.write_control(PING, payload)


cdef bint settle_pings(Keepalive* keepalive, Deliverer connection, bytes payload) except -1:
    """Note a pong, and return whether it answers a ping of `ping_interval`."""
    cdef Py_ssize_t i
    cdef bint is_own = False
    for i in range(len(connection.pings or ())):
        if connection.pings[i][0] == payload:
            is_own = connection.pings[i][2] is None
            forget_pings(keepalive, connection, i + 1)
            break
    return is_own


cdef int forget_pings(Keepalive* keepalive, Deliverer connection, Py_ssize_t count) except -1:
    """Note that the oldest `count` pings have been answered. 5.5.3: a peer may answer only the
    newest of several pings, so a pong answers all that were sent before its ping too."""
    cdef list answered = connection.pings[:count]
    connection.pings = connection.pings[count:] or None
    cdef double now = connection.transport.engine.clock()
    for _, when, waiter in answered:
        keepalive.round_trip_s = now - when
        if waiter is None:
            keepalive.awaits_pong = False
            expect_ping(keepalive, connection)
            connection.ask_by(keepalive.ping_due)
        elif not waiter.done():
            waiter.set_result(keepalive.round_trip_s)
    return 0


cdef int end_pings(Deliverer connection) except -1:
    """Tell the tasks that wait for a pong that none will come."""
    for _, _, waiter in connection.pings or ():
        if waiter is not None and not waiter.done():
            waiter.set_exception(closed_error(connection))
            waiter.exception()      # or asyncio would log it where no task awaits the future
    connection.pings = None
    return 0
