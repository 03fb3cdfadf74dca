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


cdef int enter_ring(Place* ring, Place* place) noexcept:
    place.previous = ring.previous
    place.next = ring
    ring.previous.next = place
    ring.previous = place
    return 0


cdef int leave_ring(Place* place) noexcept:
    place.previous.next = place.next
    place.next.previous = place.previous
    return 0


cdef int list_ring(Place* ring, list found) except -1:
    cdef Place* place = ring.next
    while place != ring:
        found.append(<Timed>place.timed)
        place = place.next
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

    cdef list all_waiting(self):
        """List everything that has a deadline."""
        cdef list found = []
        cdef int i
        for i in range(SLOT_COUNT):
            list_ring(&self.slots[i], found)
        list_ring(&self.passed, found)
        return found

    cdef int turn_slot(self, Place* slot) noexcept:
        """Take those that are due over to a ring of their own: a deadline's consequences may move
        or end any of the others, and not all have to be dealt with in one turn."""
        cdef Place* place = slot.next
        cdef Timed timed
        cdef uint32_t last = self.tick
        while place != slot:
            timed = <Timed>place.timed
            place = place.next
            if timed.due <= last:
                leave_ring(&timed.place)
                enter_ring(&self.passed, &timed.place)
        return 0

    cdef bint has_passed(self) noexcept:
        """Say whether somebody's time has come who has not been told."""
        return self.passed.next != &self.passed

    cdef bint tell_next(self) except -1:
        """Tell the next one whose time has come; false where there is nobody."""
        cdef Timed timed
        if not self.has_passed():
            return False
        timed = <Timed>self.passed.next.timed
        timed.wait_no_more(self)
        timed.time_is_up()
        return True


cdef class Timed(Writer):
    """Something with at most one deadline at a time."""

    def __dealloc__(self):
        # A transport can be lost without a farewell, where its loop has no memory for one.
        if self.place.next is not NULL:
            leave_ring(&self.place)

    cdef int wait_until(self, Wheel wheel, uint32_t tick) except -1:
        """Set the deadline, in place of an earlier one."""
        cdef Place* slot
        self.wait_no_more(wheel)
        self.due = max(tick, wheel.tick + 1)
        slot = &wheel.slots[self.due % SLOT_COUNT]
        self.place.timed = <void*>self
        enter_ring(slot, &self.place)
        wheel.waiting_count += 1
        return 0

    cdef int wait_no_more(self, Wheel wheel) noexcept:
        """Clear the deadline, if there is one."""
        self.due = 0
        if self.place.next is not NULL:
            leave_ring(&self.place)
            self.place.next = self.place.previous = NULL
            wheel.waiting_count -= 1
        return 0

    cdef int time_is_up(self) except -1:
        return 0
