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
cdef double tick_s = TICK_S

# A look that comes so long after the one before is late: they are a tick apart.
cdef double LATE_S = 2 * TICK_S
# Where every look is late, every second one counts, but not for more than this: a loop that is
# overloaded has to end somebody at last.
cdef double LONGEST_STEP_S = 1.0


cdef uint32_t ticks_of(object seconds) except? 0:
    """Give a time of the options in ticks, where 0 stands for None, no limit."""
    return 0 if seconds is None else max(<uint32_t>ceil(seconds / tick_s), 1)


cdef class Wheel:
    """Tells those whose time has come; its time moves in ticks."""

    def __cinit__(self, double loop_time):
        cdef int i
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
        """Deal with every deadline that has passed; `loop_time` is the time on the loop's clock."""
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
        cdef Place* place
        cdef int i
        for i in range(SLOT_COUNT):
            place = self.slots[i].next
            while place != &self.slots[i]:
                found.append(<Timed>place.timed)
                place = place.next
        return found

    cdef int turn_slot(self, Place* slot) except -1:
        # First all that are due are taken off the ring, into a list that holds them: a deadline's
        # consequences may move or end any of the others.
        cdef Place* place = slot.next
        cdef Timed timed
        cdef uint32_t last = self.tick
        cdef list due = []
        while place != slot:
            timed = <Timed>place.timed
            place = place.next
            if timed.due <= last:
                timed.wait_no_more(self)
                timed.due = last
                due.append(timed)
        for timed in due:
            if timed.place.next is NULL and timed.due:     # neither set anew nor cleared meanwhile
                timed.due = 0
                timed.time_is_up()
        return 0


cdef class Timed(Writer):
    """Something with at most one deadline at a time."""

    cdef int wait_until(self, Wheel wheel, uint32_t tick) except -1:
        """Set the deadline, in place of an earlier one."""
        cdef Place* slot
        self.wait_no_more(wheel)
        self.due = max(tick, wheel.tick + 1)
        slot = &wheel.slots[self.due % SLOT_COUNT]
        self.place.timed = <void*>self
        self.place.previous = slot.previous
        self.place.next = slot
        slot.previous.next = &self.place
        slot.previous = &self.place
        wheel.waiting_count += 1
        return 0

    cdef int wait_no_more(self, Wheel wheel) noexcept:
        """Clear the deadline, if there is one."""
        self.due = 0
        if self.place.next is not NULL:
            self.place.previous.next = self.place.next
            self.place.next.previous = self.place.previous
            self.place.next = self.place.previous = NULL
            wheel.waiting_count -= 1
        return 0

    cdef int time_is_up(self) except -1:
        return 0
