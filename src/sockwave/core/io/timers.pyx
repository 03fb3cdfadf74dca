"""Deadlines: one coarse timer wheel per loop, in place of a timer object per connection.

A timer is a node in one of the wheel's rings; to set, move and clear it takes a few pointers and no
memory. It is due at the first tick after its deadline, so at most two ticks late and never early.

The wheel has a clock of its own, which moves when the engine has it look at the loop's clock, once
a tick (`advance`). While a process is stopped (SIGSTOP, a debugger, a busy host), or the
application blocks the loop, the server reads nothing, and no client may time out for that. So a
look that comes late does not move the wheel's clock; by the next one, what clients had sent has
been read.
"""

from libc.math cimport ceil, floor

TICK_S = 0.1
tick_s = TICK_S

# A look at the clock that comes so long after the one before is late: they are a tick apart.
cdef double LATE_S = 2 * TICK_S
# Where every look is late, every second one counts, but not for more than this: even in an
# overloaded loop, clients have to time out at last.
cdef double LONGEST_STEP_S = 1.0


cdef uint32_t ticks_of(object seconds) except? 0:
    """Convert a time of the options to ticks; None, no limit, becomes 0."""
    return 0 if seconds is None else max(<uint32_t>ceil(seconds / tick_s), 1)


cdef int enter_ring(Timer* ring, Timer* timer) noexcept:
    timer.previous = ring.previous
    timer.next = ring
    ring.previous.next = timer
    ring.previous = timer
    return 0


cdef int leave_ring(Timer* timer) noexcept:
    timer.previous.next = timer.next
    timer.next.previous = timer.previous
    return 0


cdef int forget_timer(Timer* timer) noexcept:
    """Take a timer out of the wheel when its owner dies: a transport can die without having been
    notified of its end, where its loop had no memory for that."""
    if timer.next is not NULL:
        leave_ring(timer)
    return 0


cdef int empty_ring(Timer* ring) noexcept:
    """Let the timers of a ring be in none."""
    cdef Timer* timer = ring.next
    cdef Timer* next
    while timer is not NULL and timer != ring:
        next = timer.next
        timer.previous = timer.next = NULL
        timer = next
    return 0


cdef int list_ring(Timer* ring, list found) except -1:
    cdef Timer* timer = ring.next
    while timer != ring:
        found.append(<object>timer.owner)
        timer = timer.next
    return 0


cdef class Wheel:
    """Finds the timers whose deadline has passed; its time moves in ticks."""

    def __cinit__(self, double loop_time):
        cdef int i
        self.passed.previous = self.passed.next = &self.passed
        for i in range(SLOT_COUNT):
            self.slots[i].previous = self.slots[i].next = &self.slots[i]
        self.looked = loop_time
        # The first tick is 1, so that 0 can stand for none.
        self.now = tick_s
        self.tick = 1

    def __dealloc__(self):
        # In a cycle of garbage, the wheel may go before the owners of its timers.
        cdef int i
        empty_ring(&self.passed)
        for i in range(SLOT_COUNT):
            empty_ring(&self.slots[i])

    cdef double since_look(self, double loop_time) noexcept:
        """Return how many seconds since the last look count."""
        cdef double elapsed = max(loop_time - self.looked, 0)
        if elapsed <= LATE_S:
            return elapsed
        return min(elapsed, LONGEST_STEP_S) if self.was_late else 0

    cdef int begin(self, double loop_time) noexcept:
        """Start the clock again from here, after a time in which no timer was set."""
        self.looked = loop_time
        self.was_late = False
        return 0

    cpdef int advance(self, double loop_time) except -1:
        """Look at the clock, and find every timer that is due; `loop_time` is the loop's time."""
        cdef uint32_t tick = self.tick + 1
        self.now += self.since_look(loop_time)
        self.was_late = not self.was_late and loop_time - self.looked > LATE_S
        self.looked = loop_time
        self.tick = <uint32_t>floor(self.now / tick_s)
        while tick <= self.tick:
            self.turn_slot(&self.slots[tick % SLOT_COUNT])
            tick += 1
        return 0

    cdef uint32_t tick_in(self, double loop_time, double seconds) noexcept:
        """Return the first tick that is at least `seconds` from now."""
        cdef double when = self.now + self.since_look(loop_time) + seconds
        return max(<uint32_t>ceil(when / tick_s), self.tick + 1)

    cdef int start(self, Timer* timer, void* owner, uint32_t tick) noexcept:
        """Set a deadline, in place of an earlier one."""
        self.stop(timer)
        timer.owner = owner
        timer.due = max(tick, self.tick + 1)
        enter_ring(&self.slots[timer.due % SLOT_COUNT], timer)
        self.waiting_count += 1
        return 0

    cdef int stop(self, Timer* timer) noexcept:
        """Clear the deadline, if there is one."""
        timer.due = 0
        if timer.next is not NULL:
            leave_ring(timer)
            timer.next = timer.previous = NULL
            self.waiting_count -= 1
        return 0

    cdef list list_owners(self):
        """List the owners of all timers that have a deadline."""
        cdef list found = []
        cdef int i
        for i in range(SLOT_COUNT):
            list_ring(&self.slots[i], found)
        list_ring(&self.passed, found)
        return found

    cdef int turn_slot(self, Timer* slot) noexcept:
        """Move the timers of a slot that are due to a ring of their own: the owner of one, when it
        is called, may move or end any other, and not all have to be called in one turn."""
        cdef Timer* next = slot.next
        cdef Timer* timer
        while next != slot:
            timer = next
            next = timer.next
            if timer.due <= self.tick:
                leave_ring(timer)
                enter_ring(&self.passed, timer)
        return 0

    cdef bint has_passed(self) noexcept:
        """Return whether a timer is due whose owner has not been called."""
        return self.passed.next != &self.passed

    cdef void* take_passed(self) noexcept:
        """Clear the first timer that is due, and return its owner, for the caller to call. There
        must be one: see `has_passed`."""
        cdef Timer* timer = self.passed.next
        self.stop(timer)
        return timer.owner
