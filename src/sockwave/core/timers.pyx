"""Deadlines: one coarse wheel for a loop, and no timer object for a connection.

A deadline is a place in one of the wheel's rings; to set, move and clear it takes a few pointers
and no memory. It passes at the first tick behind it, so at most two ticks late and never early.
"""

from libc.math cimport ceil, floor

TICK_S = 0.1
cdef double tick_s = TICK_S


cdef class Wheel:
    """Tells those whose time has come; its time moves in ticks."""

    def __cinit__(self, double now):
        cdef int i
        for i in range(SLOT_COUNT):
            self.slots[i].previous = self.slots[i].next = &self.slots[i]
        self.now = now
        self.tick = <uint64_t>floor(now / tick_s)

    cpdef int advance(self, double now) except -1:
        """Deal with every deadline that has passed by `now`, in seconds on the loop's clock."""
        cdef uint64_t last = <uint64_t>floor(now / tick_s)
        cdef uint64_t tick
        self.now = now
        if last <= self.tick:
            return 0
        # After a long pause of the process one look at each slot is enough: what is due is due.
        tick = max(self.tick + 1, last - SLOT_COUNT + 1 if last >= SLOT_COUNT else 0)
        self.tick = last
        while tick <= last:
            self.turn_slot(&self.slots[tick % SLOT_COUNT], last)
            tick += 1
        return 0

    cdef uint64_t tick_at(self, double when) noexcept:
        """Give the first tick behind a time, in seconds on the loop's clock."""
        return max(<uint64_t>ceil(when / tick_s), self.tick + 1)

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

    cdef int turn_slot(self, Place* slot, uint64_t last) except -1:
        # First all that are due are taken off the ring, into a list that holds them: a deadline's
        # consequences may move or end any of the others.
        cdef Place* place = slot.next
        cdef Timed timed
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

    cdef int wait_until(self, Wheel wheel, double when) except -1:
        """Set the deadline, in seconds on the loop's clock, in place of an earlier one."""
        cdef Place* slot
        self.wait_no_more(wheel)
        self.due = wheel.tick_at(when)
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
