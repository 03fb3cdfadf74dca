"""A connection's time: pings and their round trips, and when it has to end.

RFC 6455, section 5.5.2: "A Ping frame may serve either as a keepalive or as a means to verify that
the remote endpoint is still responsive."
"""

import random
import secrets
import time

from libc.math cimport ceil
from libc.stdint cimport UINT32_MAX

from sockwave.core.io.transport cimport Probes
from sockwave.core.events.emitter cimport PONGED
from sockwave.core.io.engine cimport Engine
from sockwave.core.protocol.frames cimport MAX_CONTROL_SIZE, NO_PONG, PING
from sockwave.core.session.closing cimport CONNECTED, PEER_VANISHES, WE_CLOSE
from sockwave.core.limits.counters cimport IDLE_TIMEOUT, MAX_LIFETIME
from sockwave.core.io.timers cimport STALE_TICKS

from sockwave.close import CloseCode, encode_close

cdef enum:
    PAYLOAD_SIZE = 4            # of a ping, so that no pong answers it by chance
    # TCP asks so many times, or as often as there are seconds.
    PROBE_COUNT = 4

# Of the interval between two pings, to either side: those who have come together part.
cdef double PING_JITTER = 0.1

# How a connection is closed when its time has come: the limit, the code and the reason. 7.4.1:
# "1001 indicates that an endpoint is "going away"".
ENDINGS = {
    END_IDLE: (IDLE_TIMEOUT, CloseCode.GOING_AWAY, "nothing has been said for too long"),
    END_LIFE: (MAX_LIFETIME, CloseCode.GOING_AWAY, "connection has lasted long enough"),
}


cdef double vary(double value, double jitter):
    """Give a value that lies up to a part of it to either side."""
    return value * (1 - jitter + 2 * jitter * random.random())


cdef class Keepalive(Deliverer):
    """A connection that is kept alive, and ended when its time has come."""

    def __cinit__(self):
        self.round_trip_s = -1

    # ---- the times

    cdef int begin_keepalive(self) except -1:
        """Let the times run, from the open connection on."""
        engine = self.transport.engine
        self.heard = self.sent = engine.wheel.tick
        if self.hub.max_lifetime:
            seconds = vary(self.hub.max_lifetime, self.hub.lifetime_jitter)
            self.life_end = engine.wheel.tick_in(engine.loop.time(), seconds)
        if not self.is_draft():
            self.expect_ping()
        elif self.hub.ping_ticks:
            self.is_watched = self.ask_kernel()
        return self.keep_time()

    cdef bint ask_kernel(self) except -1:
        """Have TCP ask a peer that has no ping, with the same times."""
        cdef Probes probes
        limits = self.hub.limits
        interval = limits.ping_interval or limits.idle_timeout
        timeout = limits.ping_timeout or interval
        probes.count = min(max(int(timeout), 1), PROBE_COUNT)
        probes.idle_s = <int>ceil(interval)
        probes.interval_s = <int>ceil(timeout / probes.count)
        probes.patience_ms = 1000 * (probes.idle_s + probes.interval_s * probes.count)
        return self.transport.probe(&probes)

    cdef int hear_kernel(self) except -1:
        """Look whether a peer is there whose pongs are not read, as it waits for the application:
        its kernel acknowledges the pings."""
        cdef Engine engine = self.transport.engine
        cdef uint32_t tick = engine.wheel.tick
        cdef uint32_t silence_ticks
        cdef bint has_pings = self.hub.ping_ticks and self.hub.pong_ticks and not self.is_draft()
        if not self.transport.find_silence(&silence_ticks) or not has_pings:
            if not (self.is_watched or self.is_probed or has_pings) and (
                self.hub.ping_ticks or self.hub.idle_ticks
            ):
                self.is_probed = True
                self.ask_kernel()       # which ends the connection of a peer that is gone
            self.heard = tick
        elif self.transport.measure_untaken():
            # Something is under way. What was under way before has been acknowledged, or not.
            if silence_ticks < tick:
                self.heard = max(self.heard, tick - silence_ticks)
        else:
            self.heard = tick
            if self.awaits_pong:        # ask again: it may have gone since
                self.awaits_pong = False
                self.pings = [ping for ping in self.pings or () if ping[2] is not None]
                self.expect_ping()
        return 0

    cdef Duty find_duty(self, uint32_t* when) noexcept:
        """Find what has to be done next, and when."""
        cdef Duty duty = NOTHING
        cdef uint32_t other
        when[0] = UINT32_MAX
        if self.life_end:
            when[0] = self.life_end
            duty = END_LIFE
        if self.awaits_pong:
            # Whatever the peer sends says that it is there: its pong may have to wait behind the
            # rest of a long frame.
            other = max(self.heard, self.ping_due) + self.hub.pong_ticks + STALE_TICKS
            if other < when[0]:
                when[0] = other
                duty = MISS_PONG
        elif self.ping_due and self.ping_due < when[0]:
            when[0] = self.ping_due
            duty = SEND_PING
        if self.hub.idle_ticks:
            other = max(self.heard, self.sent) + self.hub.idle_ticks + STALE_TICKS
            if other < when[0]:
                when[0] = other
                duty = END_IDLE
        if self.inbox is not None and self.inbox.due and self.inbox.due < when[0]:
            when[0] = self.inbox.due
            duty = STOP_KEEPING
        if self.stuck_at and self.stuck_at < when[0]:
            when[0] = self.stuck_at
            duty = TELL_STUCK
        return duty

    cdef int keep_time(self) except -1:
        """Do what is due, and ask for a turn when the next thing is."""
        cdef uint32_t tick = self.transport.engine.wheel.tick
        cdef uint32_t when
        cdef Duty duty
        if self.is_postponed or not self.transport.is_flushed():
            # What the peer has sent has not been read, or our ping waits behind a backlog, of which
            # `write_timeout` is the judge: its silence says nothing.
            self.heard = tick
        elif self.must_wait():
            self.hear_kernel()
            if self.transport.is_lost:
                return 0
        elif self.is_watched and (self.reader is None or not self.reader.message_opcode):
            # The kernel knows that it is there. But half a message is no way to be quiet.
            self.heard = tick
        duty = self.find_duty(&when)
        while duty != NOTHING and when <= tick and self.state == CONNECTED:
            self.run_duty(duty)
            duty = self.find_duty(&when)
        if self.state == CONNECTED:
            self.transport.ask_for(0 if duty == NOTHING else when)
        return 0

    cdef int run_duty(self, Duty duty) except -1:
        if duty == SEND_PING:
            return self.send_ping()
        if duty == MISS_PONG:
            self.note_rest()
            return self.end_with(NO_PONG, PEER_VANISHES)
        if duty == STOP_KEEPING:
            return self.stop_keeping()
        if duty == TELL_STUCK:
            return self.tasks_are_stuck()
        limit, code, reason = ENDINGS[duty]
        self.transport.engine.limit_counters.count(limit)
        return self.advance_closing(WE_CLOSE, encode_close(code, reason))

    cdef int notify_deadline(self) except -1:
        if self.state == CONNECTED:
            return self.keep_time()
        return Deliverer.notify_deadline(self)

    # ---- pings

    cdef int expect_ping(self) except -1:
        """Set the time of the next ping."""
        cdef double ticks
        if self.hub.ping_ticks:
            ticks = vary(self.hub.ping_ticks, PING_JITTER)
            self.ping_due = self.transport.engine.wheel.tick + <uint32_t>ceil(ticks)
        return 0

    cdef int send_ping(self) except -1:
        cdef bytes payload = secrets.token_bytes(PAYLOAD_SIZE)
        if self.hub.pong_ticks:
            self.awaits_pong = True
            self.ping_due = self.transport.engine.wheel.tick
        else:
            # Nobody waits for the pong: at most one of these is remembered, for the round trip.
            self.pings = [ping for ping in self.pings or () if ping[2] is not None]
            self.expect_ping()
        return self.note_ping(payload, None)

    cdef int note_ping(self, bytes payload, object waiter) except -1:
        if self.pings is None:
            self.pings = []
        self.pings.append((payload, time.perf_counter(), waiter))
        return self.write_control(PING, payload)

    cdef int heard_pong(self, bytes payload) except -1:
        cdef Py_ssize_t i
        cdef bint is_own = False
        for i in range(len(self.pings or ())):
            if self.pings[i][0] == payload:
                is_own = self.pings[i][2] is None
                self.forget_pings(i + 1)
                break
        return 0 if is_own else self.emit_in_context(PONGED, payload, None)

    cdef int forget_pings(self, Py_ssize_t count) except -1:
        """Settle the first pings that are out. 5.5.3: earlier ones than the one that a pong answers
        may go unanswered, so they are answered by it too."""
        cdef list answered = self.pings[:count]
        self.pings = self.pings[count:] or None
        now = time.perf_counter()
        for _, when, waiter in answered:
            self.round_trip_s = now - when
            if waiter is None:
                self.awaits_pong = False
                self.expect_ping()
                self.transport.ask_for(min(self.transport.asked or UINT32_MAX, self.ping_due))
            elif not waiter.done():
                waiter.set_result(self.round_trip_s)
        return 0

    cdef int end_pings(self) except -1:
        """Tell who waits for a pong that none will come."""
        for _, _, waiter in self.pings or ():
            if waiter is not None and not waiter.done():
                waiter.set_exception(self.closed_error())
                waiter.exception()      # known: nobody has to await it
        self.pings = None
        return 0

    def ping(self, data=b""):
        """Send a ping; the awaitable gives the round trip in seconds (RFC 6455, section 5.5.2).

        Raises ConnectionClosed when not connected (or, in the awaitable, when the connection ends
        first), TypeError on a draft, which has no ping, ValueError for more than 125 bytes.
        """
        cdef bytes payload
        self.hub.thread.check("conn.ping")
        if self.state != CONNECTED:
            raise self.closed_error()
        if self.is_draft():
            raise TypeError(f"{self.version} has no ping")
        payload = data.encode() if isinstance(data, str) else bytes(memoryview(data))
        if len(payload) > MAX_CONTROL_SIZE:
            raise ValueError(
                f"ping: expected at most {MAX_CONTROL_SIZE} bytes, given {len(payload)}"
            )
        waiter = self.hub.engine.loop.create_future()
        self.note_ping(payload, waiter)
        return waiter

    @property
    def latency(self):
        """The latest round trip of a ping in seconds, None before the first. The pings of
        `ping_interval` keep it up to date."""
        return self.round_trip_s if self.round_trip_s >= 0 else None
