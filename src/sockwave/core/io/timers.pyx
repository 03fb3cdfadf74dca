"""Deadlines: one coarse wheel for a loop, and no timer object for a connection.

A deadline is a place in one of the wheel's rings; to set, move and clear it takes a few pointers
and no memory. It passes at the first tick behind it, so at most two ticks late and never early.

The wheel has a clock of its own, which stands still while nobody looks at it: a process that was
stopped (SIGSTOP, a debugger, a busy host), or a loop that the application has blocked, has heard
nobody meanwhile, and must not hold that against anybody. So a look that comes late moves nothing;
by the next one, what had come has been read.
"""

from libc.math cimport ceil, floor

TICK_S = 0.1
tick_s = TICK_S

# A look that comes so long after the one before is late: they are a tick apart.
cdef double LATE_S = 2 * TICK_S
# Where every look is late, every second one counts, but not for more than this: a loop that is
# overloaded has to end somebody at last.
cdef double LONGEST_STEP_S = 1.0


cdef uint32_t ticks_of(object seconds) except? 0:
    """Give a time of the options in ticks, where 0 stands for None, no limit."""
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
    """Leave the wheel with an owner that dies: a transport can end without a notice, where its loop
    has no memory to give one."""
    if timer.next is not NULL:
        leave_ring(timer)
    return 0


cdef int list_ring(Timer* ring, list found) except -1:
    cdef Timer* timer = ring.next
    while timer != ring:
        found.append(<object>timer.owner)
        timer = timer.next
    return 0


cdef class Wheel:
    """Knows whose time has come; its time moves in ticks."""

    def __cinit__(self, double loop_time):
        cdef int i
        self.passed.previous = self.passed.next = &self.passed
        for i in range(SLOT_COUNT):
            self.slots[i].previous = self.slots[i].next = &self.slots[i]
        self.looked = loop_time
        # The first tick is 1, so that 0 can stand for none.
        self.now = tick_s
        self.tick = 1

    cdef double since_look(self, double loop_time) noexcept:
        """Say how much of the time since the last look counts."""
        cdef double elapsed = max(loop_time - self.looked, 0)
        if elapsed <= LATE_S:
            return elapsed
        return min(elapsed, LONGEST_STEP_S) if self.was_late else 0

    cdef int begin(self, double loop_time) noexcept:
        """Let time pass again from here on, after nobody had a deadline."""
        self.looked = loop_time
        self.was_late = False
        return 0

    cpdef int advance(self, double loop_time) except -1:
        """Find every deadline that has passed; `loop_time` is the time on the loop's clock."""
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
        """Give the first tick behind a time from now on."""
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
        """List the owners of everything that has a deadline."""
        cdef list found = []
        cdef int i
        for i in range(SLOT_COUNT):
            list_ring(&self.slots[i], found)
        list_ring(&self.passed, found)
        return found

    cdef int turn_slot(self, Timer* slot) noexcept:
        """Take those that are due over to a ring of their own: a deadline's consequences may move
        or end any of the others, and not all have to be dealt with in one turn."""
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
        """Say whether somebody's time has come who has not been told."""
        return self.passed.next != &self.passed

    cdef void* take_passed(self) noexcept:
        """Clear the first deadline that has passed, where there is one, and give its owner, who is
        to be told."""
        cdef Timer* timer = self.passed.next
        self.stop(timer)
        return timer.owner
