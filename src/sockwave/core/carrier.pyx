"""What carries the bytes: the one small interface between the protocol and whatever brings its
bytes."""

import logging

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.errno cimport ETIMEDOUT
from libc.stdint cimport UINT32_MAX
from libc.stdlib cimport free, malloc

from sockwave.core.tally cimport HIGH_WATER, WRITE_TIMEOUT
from sockwave.core.timers cimport ticks_of

from sockwave.core.timers import TICK_S

logger = logging.getLogger("sockwave")

# Without descriptors or memory to accept: how long until the next try.
cdef double ACCEPT_REST_S = 0.1
# How long all must be well until that is said: at the brink, each client that goes lets one in.
cdef double RECOVERY_S = 1.0

# How long a closed connection's last bytes are waited for, so that no RST destroys ours.
cdef double LINGER_S = 2.0

# A tick that is so late does not come any more.
cdef double LOST_TICK_S = 2.0
cdef enum:
    # Looks, in `write_timeout`, at whether the peer takes something: so much later it is noticed.
    LOOK_COUNT = 4

# What a receiver can be told in a turn of its own.
cdef enum:
    BYTES
    END_OF_STREAM
    DEADLINE
    GO_ON
    READY


cdef class Engine:
    """What the carriers of one server in one loop share."""

    def __cinit__(
        self, loop, welcome, complain, *,
        size_t high_water, size_t low_water, size_t max_backlog, write_timeout,
        Tally tally, Tariff tariff,
    ):
        self.loop = loop
        self.welcome = welcome
        self.complain = complain
        self.cork = Cork(self._promise_end, high_water, low_water, max_backlog)
        self.wheel = Wheel(loop.time())
        self.write_ticks = ticks_of(write_timeout)
        self.tally = tally
        self.tariff = tariff
        self.losses = {}
        self.postponed = []
        self.budget = TURN_MESSAGE_COUNT
        self.read_buffer = <uint8_t*>malloc(HEADROOM_SIZE + READ_SIZE)
        if self.read_buffer is NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.read_buffer)

    def _promise_end(self):
        self.loop.call_soon(self._end_turn)

    cdef void tell(self, object error, Carrier carrier) noexcept:
        """Tell of what no caller could see. Where not even that can be done, mostly for want of
        memory, Python's last resort is to write it to stderr."""
        self.complain(error, carrier)

    cdef int admit(self, Carrier carrier) except -1:
        """Give a new carrier its receiver."""
        carrier.engine = self
        carrier.cork = self.cork
        self.carrier_count += 1
        self.expect_tick()
        try:
            self.welcome(carrier)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            carrier.fail(error)
        return 0

    cdef int postpone(self, Carrier carrier) except -1:
        self.postponed.append(carrier)
        return self.cork.promise()

    cdef int serve_postponed(self) except -1:
        cdef list postponed = self.postponed
        cdef Carrier carrier
        if postponed:
            self.postponed = []
            for carrier in postponed:
                carrier.run(GO_ON, NULL, 0)
        return 0

    def _end_turn(self):
        self.end_turn()

    cdef int end_turn(self) except -1:
        """Do what waits for the end of a turn of the loop: writes, and farewells."""
        self.cork.promised = True       # whatever is added meanwhile is done below
        try:
            self.cork.flush()
        finally:
            self.cork.promised = False
            if self.cork.first_dirty is not None:       # a listener has ended the program
                self.cork.promise()
        if self.postponed and not self.next_turn_is_due:
            self.loop.call_soon(self._next_turn)
            self.next_turn_is_due = True
        return 0

    cdef int say_farewell(self, Carrier carrier) except -1:
        cdef Receiver receiver = carrier.receiver
        error = self.losses.pop(carrier, None)
        carrier.receiver = None
        self.cork.has_called_out = True
        try:
            if receiver is not None:
                receiver.connection_lost(error)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as failure:
            self.tell(failure, carrier)
        finally:
            # Whoever ends the program: the server waits until nobody is left.
            self.carrier_count -= 1
            self.let_go(carrier)
        return 0

    cdef int let_go(self, Carrier carrier) except -1:
        try:
            carrier.drop()      # once more: there may have been no memory to do it in
            carrier.release_waiters()
            if self.when_departed is not None:
                self.when_departed(carrier)
        finally:
            if not self.carrier_count and self.when_empty is not None:
                self.when_empty()
        return 0

    def _next_turn(self):
        """Deliver another fill of messages; one such call is under way at most."""
        self.next_turn_is_due = False
        self.budget = TURN_MESSAGE_COUNT
        self.cork.promised = True
        try:
            self.serve_postponed()
        finally:
            self.end_turn()

    cdef int expect_tick(self) except -1:
        """Let time pass while there is a carrier: each may note when something happened to it."""
        now = self.loop.time()
        if self.tick_handle is not None and now > self.tick_due + LOST_TICK_S:
            # For want of memory a loop can lose a call that it has promised.
            self.tick_handle.cancel()
            self.tick_handle = None
        if self.tick_handle is None:
            self.wheel.begin(now)
            self.schedule_tick(now)
        return 0

    cdef int schedule_tick(self, double now) except -1:
        self.tick_handle = self.loop.call_later(TICK_S, self._tick)
        self.tick_due = now + TICK_S
        return 0

    cdef double clock(self) except -1:
        """Give the time, in seconds on the loop's clock. The wheel's would not do for rates: what
        was sent while it stood still was sent in that time."""
        return self.loop.time()

    def _tick(self):
        self.tick_handle = None
        # If it is due still, it has been lost: see `expect_tick`.
        self.next_turn_is_due = False
        try:
            self.end_turn()
            self.wheel.advance(self.loop.time())
        finally:
            if self.carrier_count:
                self.schedule_tick(self.loop.time())

    cdef int rest_from_accepting(self, object reason, object again, object listener) except -1:
        """Try `again` later, and log, once for all attempts, that nobody can be accepted."""
        self.loop.call_later(ACCEPT_REST_S, again, listener)
        if self.recovery_handle is not None:
            self.recovery_handle.cancel()
            self.recovery_handle = None
        if not self.is_short:
            self.is_short = True
            logger.error("cannot accept: %s; trying again all the time", reason)
        return 0

    cdef int can_accept(self) except -1:
        """Note that somebody can be accepted; logged where that has been otherwise, if it lasts."""
        if self.is_short and self.recovery_handle is None:
            self.recovery_handle = self.loop.call_later(RECOVERY_S, self._recover)
        return 0

    def _recover(self):
        self.is_short = False
        self.recovery_handle = None
        logger.warning("accepting again")

    def reset_waiting(self):
        """Drop the carriers that wait for a deadline: among them all that are on their way out."""
        cdef Timed timed
        for timed in self.wheel.all_waiting():
            (<Carrier>timed).reset()

    def stop(self):
        """Let go of the loop."""
        if self.recovery_handle is not None:
            self.recovery_handle.cancel()
        if self.tick_handle is not None:
            self.tick_handle.cancel()
            self.tick_handle = None


cdef class Carrier(Timed):
    """Carries one peer's bytes both ways."""

    cdef int watch_readable(self, bint on) except -1:
        return 0

    cdef bint is_flushed(self) noexcept:
        return self.count == 0

    cdef int end_writing(self) except -1:
        return 0

    cdef int drop(self) except -1:
        return 0

    cdef uint32_t measure_untaken(self) except? 0:
        return 0

    cdef bint probe(self, int idle_s, int interval_s, int count) except -1:
        return False

    cdef Py_ssize_t transmit(self, const uint8_t* data, size_t size) noexcept:
        return -1

    cdef int run(self, int what, uint8_t* data, size_t size) except -1:
        """Give the receiver a turn: what it writes is gathered and leaves at the end, what it
        raises goes no further."""
        cdef Receiver receiver = self.receiver      # held: it may end in its own turn
        if receiver is None:
            return 0
        try:
            self.take_turn(receiver, what, data, size)
            if self.is_closing:
                self.end_if_flushed()
        except (KeyboardInterrupt, SystemExit):
            self.lose(None)
            raise
        except BaseException as error:
            self.fail(error)
        return 0

    cdef int take_turn(
        self, Receiver receiver, int what, uint8_t* data, size_t size
    ) except -1:
        self.take_cork()
        try:
            if what == BYTES:
                receiver.take_bytes(data, size)
            elif what == END_OF_STREAM:
                receiver.eof_received()
            elif what == DEADLINE:
                receiver.deadline_passed()
            elif what == GO_ON:
                receiver.go_on()
            else:
                self.peer_is_ready()
        finally:
            self.release_cork()
        return 0

    cdef int fail(self, object error) except -1:
        """End for an error of ours, or for want of memory: it costs this carrier and no other."""
        try:
            self.lose(None)
        finally:
            self.engine.tell(error, self)
        return 0

    cdef int end_turn(self) except -1:
        """Send what was queued, or say farewell."""
        if self.is_lost:
            return self.engine.say_farewell(self)
        try:
            self.flush()
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self.fail(error)
        return 0

    cdef int run_ready(self) except -1:
        """Go on writing: the peer takes bytes again."""
        if self.receiver is not None:
            return self.run(READY, NULL, 0)
        return self.peer_is_ready()

    cdef int deliver(self, uint8_t* data, size_t size) except -1:
        """Hand over bytes of the peer; what comes after our end is dropped."""
        if not self.is_closing:
            self.run(BYTES, data, size)
        return 0

    cdef int end_reading(self) except -1:
        """The peer has sent its last byte."""
        self.has_ended = True
        if self.is_finished:
            return self.lose(None)
        if not self.is_closing:
            self.run(END_OF_STREAM, NULL, 0)
        # Not before: most have lost their socket by now, and need not be watched for the end.
        return 0 if self.is_lost else self.watch_readable(False)

    cdef int lose(self, object error) except -1:
        """Drop the socket; the receiver hears of it at the end of this turn, once.

        What is needed for that takes no memory, and comes first.
        """
        if self.engine is None or self.is_lost:
            return 0
        self.is_lost = self.is_closing = self.is_broken = True
        self.wait_no_more(self.engine.wheel)
        self.cork.link(self)
        try:
            self.drop()
            if error is not None:
                self.engine.losses[self] = error
            self.drop_backlog(False)
        finally:
            self.cork.promise()
        return 0

    cpdef object reset(self):
        """Drop the socket now, and what the kernel still holds of it: the peer gets RST."""
        self.lose(None)

    cdef int finish(self, bint linger) except -1:
        """End in order: everything written leaves, then FIN. With `linger`, what the peer still
        sends is read and dropped, so that no RST overtakes our last bytes; without, the socket is
        closed at once, which is right when nothing can come."""
        if self.is_closing:
            return 0
        self.is_closing = True
        self.lingers = linger
        if self.cork.holder is not self:
            self.end_if_flushed()
        return 0

    cdef int end_if_flushed(self) except -1:
        if not self.is_flushed() or self.is_finished or self.is_lost:
            return 0
        self.is_finished = True
        if self.has_ended or not self.lingers:
            return self.lose(None)
        self.end_writing()
        self.watch_readable(True)
        end = self.engine.wheel.tick_in(self.engine.loop.time(), LINGER_S)
        if not self.asked or self.asked > end:
            self.ask_for(end)
        return 0

    cdef int backlog_rose(self) except -1:
        self.engine.tally.hit(HIGH_WATER)
        if self.receiver is not None and not self.is_closing:
            self.receiver.backlog_rose()
        return 0

    cdef int backlog_fell(self) except -1:
        if self.receiver is not None and not self.is_closing:
            self.receiver.backlog_fell()
        return 0

    cdef int backlog_emptied(self) except -1:
        if self.is_closing:
            return self.end_if_flushed()
        if self.receiver is not None:
            self.receiver.backlog_emptied()
        return 0

    # ---- time

    cdef int ask_for(self, uint32_t tick) except -1:
        """Give the receiver its turn at a tick, in place of an earlier one; 0: never."""
        if self.is_lost:
            return 0            # it may have lost its peer in what it has just written
        self.asked = tick
        return self.set_alarm()

    cdef int begin_waiting(self) except -1:
        """Something waits for the peer, which has just been given as much as it takes."""
        if self.engine.write_ticks and not self.is_lost:
            self.moved = self.engine.wheel.tick
            self.untaken_size = UINT32_MAX      # not known: the first look counts as a movement
            return self.set_alarm()
        return 0

    cdef int set_alarm(self) except -1:
        cdef Wheel wheel = self.engine.wheel
        cdef uint32_t next = self.asked
        cdef uint32_t look
        if self.moved:
            look = wheel.tick + self.engine.write_ticks // LOOK_COUNT + 1
            if self.due:
                look = min(look, self.due)      # or it would be put off again and again
            next = min(next, look) if next else look
        if not next:
            self.wait_no_more(wheel)
        elif next != self.due:
            self.wait_until(wheel, next)
        return 0

    cdef bint has_stalled(self) except -1:
        """Say whether the peer has taken nothing for too long of what waits for it."""
        cdef uint32_t size = self.measure_untaken()
        if size != self.untaken_size:
            self.untaken_size = size
            self.moved = self.engine.wheel.tick
        return self.engine.wheel.tick - self.moved > self.engine.write_ticks

    cdef int time_is_up(self) except -1:
        if self.moved and self.has_stalled():
            self.engine.tally.hit(WRITE_TIMEOUT)
            return self.lose(TimeoutError(ETIMEDOUT, "the peer takes nothing of what is sent"))
        if self.asked and self.asked <= self.engine.wheel.tick:
            self.asked = 0
            if self.is_closing:
                return self.lose(None)
            self.run(DEADLINE, NULL, 0)
        return 0 if self.is_lost else self.set_alarm()

    cdef int pause(self) except -1:
        if not self.is_paused:
            self.is_paused = True
            if not self.has_ended:
                self.watch_readable(False)
        return 0

    cdef int resume(self) except -1:
        if self.is_paused:
            self.is_paused = False
            if not self.has_ended and not self.is_lost:
                self.watch_readable(True)
        return 0

    # ---- what receivers written in Python use

    def write(self, data):
        """Queue bytes-like `data`; it leaves at the end of this turn of the loop.
        Ignored after `close` and `abort`."""
        cdef bytes owned = data if type(data) is bytes else bytes(memoryview(data))
        if not self.is_closing:
            self.write_bytes(
                owned, <const uint8_t*>PyBytes_AS_STRING(owned), PyBytes_GET_SIZE(owned)
            )

    def drained(self):
        """Give an awaitable that is done when the backlog is under the high-water mark."""
        return self.drain_awaitable()

    def pause_reading(self):
        """Let the peer's bytes wait in the kernel."""
        self.pause()

    def resume_reading(self):
        """Read again."""
        self.resume()

    def close(self):
        """Send what is queued, then FIN; read and drop what still comes until the peer ends too,
        or two seconds long."""
        self.finish(True)

    def abort(self):
        """Drop the socket now."""
        self.lose(None)

    def claim_address(self, str host, int port):
        """Show this IP address and port as the peer's from now on, as a proxy has told them;
        "" for a host that is not known."""

    cpdef object set_deadline(self, object seconds):
        """Call the receiver's `deadline_passed` in so many seconds, in place of an earlier
        deadline; None clears it."""
        cdef Engine engine = self.engine
        if self.is_lost:
            return
        if seconds is None:
            self.ask_for(0)
        else:
            self.ask_for(engine.wheel.tick_in(engine.loop.time(), seconds))

    @property
    def protocol(self):
        """What the bytes are carried by: "http/1.1", "h2" or "h3"."""
        return "http/1.1"

    @property
    def security(self):
        """The facts of the TLS session; None without TLS, and before its handshake is over."""
        return None

    @property
    def remote_address(self):
        """The peer: (host, port), or the path of a Unix socket."""
        return None

    @property
    def local_address(self):
        """Our end: (host, port), or the path of a Unix socket."""
        return None
