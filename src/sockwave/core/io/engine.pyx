"""The engine: what the transports of one server in one loop share, and how it gives them turns."""

from collections import deque

from libc.stdlib cimport free, malloc

from sockwave.core.protocol.message_memory cimport age_spares, forget_spares
from sockwave.core.events.emitter cimport watch_listeners
from sockwave.core.io.timers cimport ticks_of
from sockwave.core.io.turn_budget cimport has_inflatable, has_messages, refill, refill_messages

from sockwave.core.io.timers import TICK_S


# How long a turn may spend on each of two kinds of work, of which much may come at once: opening
# requests that are not fast requests, and deadlines that have passed. What is left waits for the
# next turn, after the other connections.
cdef double SLICE_S = 0.1e-3

# A turn goes on with requests that were pipelined, each of which is read once the one before it is
# answered, until its calls have taken so long. It is the application that takes most of it, while
# the other connections and callbacks of the loop wait.
cdef double BEGINNING_S = 0.1e-3

cdef enum:
    # So many calls of the application may the transports that were postponed lead to in a turn.
    MANY_CALLS = 4


cdef class Acceptor:
    """Gives new transports their receivers."""

    cdef int welcome(self, Writer transport, double now) except -1:
        return 0


cdef class Beginner:
    """Begins the calls that were asked for in a turn, once the turn's events have been read."""

    cdef int begin_calls(self) except -1:
        return 0

    cdef int pass_tick(self, bint is_last) except -1:
        return 0

    cdef int end_tasks(self) except -1:
        return 0

    cdef int forget_tasks(self) except -1:
        return 0


cdef class Engine:
    """What the transports of one server in one loop share."""

    def __cinit__(
        self, loop, complain, *,
        size_t high_water, size_t low_water, size_t max_backlog, write_timeout,
        size_t max_size, close_timeout, LimitCounters limit_counters, RateLimits rate_limits,
    ):
        self.loop = loop
        self.thread = LoopThread(loop)
        self.complain = complain
        self.cork = Cork(self._promise_end, high_water, low_water, max_backlog)
        self.wake_queue = WakeQueue(loop)
        self.contexts = Contexts()
        self.wheel = Wheel(loop.time())
        self.write_ticks = ticks_of(write_timeout)
        self.max_size = max_size
        self.close_timeout = close_timeout or 0
        self.limit_counters = limit_counters
        self.rate_limits = rate_limits
        self.accept_pause = AcceptPause(loop)
        self.ticks = ()
        self.beginners = []
        self.losses = {}
        self.postponed = deque()
        self.inflating = deque()
        refill_messages(&self.budget)
        refill(&self.budget)
        self.read_buffer = <uint8_t*>malloc(HEADROOM_SIZE + READ_SIZE)
        if self.read_buffer is NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.read_buffer)

    def _promise_end(self):
        self.loop.call_soon(self._end_turn)

    cdef void tell(self, object error, Writer transport) noexcept:
        """Report an error that has no caller to raise to. If that fails too, mostly for want of
        memory, Python writes it to stderr as a last resort."""
        self.complain(error, transport)

    cdef int admit(self, Writer transport, double now) except -1:
        """Take in a new transport of this engine: count it, and give it its receiver."""
        transport.cork = self.cork
        self.transport_count += 1
        try:
            self.expect_ticks(now)
            self.acceptor.welcome(transport, now)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            transport.close_and_report(error)
        return 0

    cdef int postpone(self, Writer transport) except -1:
        self.postponed.append(transport)
        return self.cork.promise()

    cdef int postpone_inflating(self, Writer transport, bint comes_first) except -1:
        """Inflate more of a connection's message in a later turn: first of all, or after others."""
        if comes_first:
            self.inflating.appendleft(transport)
        else:
            self.inflating.append(transport)
        return self.cork.promise()

    cdef int serve_postponed(self) except -1:
        """Continue with postponed transports, oldest first, until the turn's budget is used up."""
        self.serve_some(self.postponed)
        if self.inflating:
            # At least a slice, whatever the others have left of the budget: they could keep the
            # message from ever being inflated to its end.
            self.budget.inflatable = max(self.budget.inflatable, 1)
            self.serve_some(self.inflating)
        return 0

    cdef int serve_some(self, object waiting) except -1:
        cdef Py_ssize_t left = len(waiting)
        cdef unsigned int before = self.call_count
        while left and waiting and has_messages(&self.budget) and has_inflatable(&self.budget):
            left -= 1               # a transport that is postponed again is added behind these
            (<Writer>waiting.popleft()).go_on()
            if self.call_count - before >= MANY_CALLS:
                break
        return 0

    def _end_turn(self):
        self.end_turn()

    cdef int ask_to_begin(self) except -1:
        """Have the calls that wait begun at the end of this turn."""
        self.has_calls = True
        return self.cork.promise()

    cdef object create_task(self, object coroutine):
        """Return a task in which a call begins, in the loop's next round."""
        self.call_count += 1
        return self.loop.create_task(coroutine)

    cdef int begin_calls(self) except -1:
        """Begin the calls that wait, and those of the requests that have waited, on their
        connections, until these calls had answered: as many as a turn has time for."""
        cdef double end = self.clock() + BEGINNING_S
        cdef bint goes_on = True
        self.cork.has_called_out = True
        while self.has_calls and goes_on:
            self.has_calls = False
            for beginner in self.beginners:
                (<Beginner>beginner).begin_calls()
            goes_on = (
                len(self.postponed) > 0 and has_messages(&self.budget) and self.clock() < end
            )
            if goes_on:
                self.serve_some(self.postponed)
        return 0

    cdef int end_turn(self) except -1:
        """End a turn of the loop: begin the calls that it has led to, send what was queued, and
        notify the receivers whose transports are closed."""
        cdef bint has_postponed
        self.cork.promised = True       # what is linked meanwhile is flushed below, too
        try:
            if self.has_calls:
                self.begin_calls()
            self.cork.flush()
        finally:
            self.cork.promised = False
            has_postponed = self.has_postponed()
            if not has_postponed:       # else `_next_turn` does, and serves them first
                refill(&self.budget)
            if self.cork.first_dirty is not None or self.has_calls:
                # The application has ended the program, or calls have led to others.
                self.cork.promise()
        if (has_postponed or self.wheel.has_passed()) and self.next_turn is None:
            self.next_turn = self.loop.call_soon(self._next_turn)
        return 0

    cdef bint has_postponed(self) except -1:
        return bool(self.postponed) or bool(self.inflating)

    cdef bint has_time_for_slow_request(self) except -1:
        """Return whether this turn has time left for a request that is not a fast request; it
        always has for the first one."""
        cdef double now = self.clock()
        if not self.budget.slow_end:
            self.budget.slow_end = now + SLICE_S
            self.cork.promise()     # so that the turn ends, and this is reset
        return now < self.budget.slow_end

    cdef int tell_passed(self) except -1:
        """Call the transports whose deadline has passed, for as long as a turn may take for
        that."""
        cdef double end = self.clock() + SLICE_S
        cdef Writer transport
        while self.wheel.has_passed():
            transport = <Writer>self.wheel.take_passed()    # may end in its own turn
            transport.time_is_up()
            if self.clock() > end:
                return self.cork.promise()      # the turn's end schedules the rest
        return 0

    cdef int forget(self, Writer transport) except -1:
        self.losses.pop(transport, None)
        self.transport_count -= 1
        if not self.transport_count and self.when_empty is not None:
            self.when_empty()
        return 0

    def _next_turn(self):
        """Start a turn with new budgets, for what was postponed. At most one such call is
        scheduled."""
        self.next_turn = None
        refill_messages(&self.budget)
        refill(&self.budget)
        self.cork.promised = True
        try:
            self.tell_passed()
            self.serve_postponed()
        finally:
            self.end_turn()

    cdef int note_debug(self, bint is_wanted) except -1:
        """In the loop's debug mode, log the listeners and steps of tasks that hold up the loop. The
        mode is checked once per tick."""
        if is_wanted != self.wake_queue.is_timed:
            self.wake_queue.is_timed = is_wanted
            watch_listeners(1 if is_wanted else -1)
        return 0

    cdef int expect_ticks(self, double now) except -1:
        """Run the wheel's clock while there is a transport, which may note the time of an event."""
        if not self.ticks:
            self.note_debug(self.loop.get_debug())
            self.wheel.begin(now)
            return self.promise_ticks(now)
        # If the next tick is late, it may have been lost: see `promise_ticks`.
        return self.promise_ticks(now) if now > self.tick_due else 0

    cdef int promise_ticks(self, double now) except -1:
        """Schedule the next tick, and a second one as a reserve: without memory, a loop can lose a
        call that was scheduled. Ticks make up for such calls, so they must not stop with one."""
        self.ticks += (
            self.loop.call_later(TICK_S, self._tick), self.loop.call_later(2 * TICK_S, self._tick)
        )
        self.tick_due = now + TICK_S
        return 0

    cdef double clock(self) except -1:
        """Return the time in seconds on the loop's clock. The wheel's clock is wrong for rates: it
        stands still at times, and clients send meanwhile."""
        return self.loop.time()

    def _tick(self):
        cdef tuple earlier
        if self.next_turn is not None:
            # Scheduled again below, as this one may have been lost: see `promise_ticks`.
            self.next_turn.cancel()
            self.next_turn = None
        age_spares()
        self.note_debug(self.loop.get_debug())
        self.thread.follow()
        try:
            self.wake_queue.wake_all()  # the call that does it may have been lost as well
            self.end_turn()
            self.wheel.advance(self.loop.time())
            self.tell_passed()
            for beginner in self.beginners:
                (<Beginner>beginner).pass_tick(not self.transport_count)
        finally:
            earlier = self.ticks
            self.ticks = ()
            if self.transport_count or self.wake_queue.queued_count:
                self.promise_ticks(self.loop.time())
            else:
                forget_spares()
            for handle in earlier:      # last: these remain if there is no memory for new ones
                handle.cancel()

    def reset_waiting(self):
        """Reset the transports that have a deadline: all that are closing are among them."""
        for transport in self.wheel.list_owners():
            transport.reset()

    def stop(self):
        """Detach from the loop."""
        self.note_debug(False)
        forget_spares()
        self.thread.release()
        self.stop_calls()
        for beginner in self.beginners:
            (<Beginner>beginner).end_tasks()

    def abandon(self):
        """In a forked child: detach from the loop, and drop what the turn that has forked had still
        to do, as the parent does it."""
        self.is_abandoned = True
        self.thread.abandon()
        self.stop_calls()
        self.cork.forget_all()
        for beginner in self.beginners:
            (<Beginner>beginner).forget_tasks()
        self.has_calls = False
        self.postponed.clear()
        self.inflating.clear()
        self.budget.message_count = 0
        self.when_empty = self.when_departed = None

    cdef int stop_calls(self) except -1:
        """Cancel the calls that are scheduled with the loop."""
        self.accept_pause.stop()
        for handle in self.ticks:
            handle.cancel()
        self.ticks = ()
        if self.next_turn is not None:
            self.next_turn.cancel()
            self.next_turn = None
        return 0
