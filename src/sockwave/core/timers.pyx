"""Deadlines: one coarse wheel for a loop, and no timer object for a connection.

A deadline is a place in one of the wheel's rings; to set, move and clear it takes a few pointers
and no memory. It passes at the first tick behind it, so at most two ticks late and never early.
"""

from libc.math cimport ceil, floor

TICK_S = 0.1
cdef double tick_s = TICK_S


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
    """Tells those whose time has come; its time moves in ticks."""

    def __cinit__(self, double now):
        cdef int i
        self.passed.previous = self.passed.next = &self.passed
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
        cdef int i
        for i in range(SLOT_COUNT):
            list_ring(&self.slots[i], found)
        list_ring(&self.passed, found)
        return found

    cdef int turn_slot(self, Place* slot, uint64_t last) except -1:
        # First all that are due go over to a ring of their own: a deadline's consequences may move
        # or end any of the others. If one raises, the rest is dealt with at the next tick.
        cdef Place* place = slot.next
        cdef Timed timed
        while place != slot:
            timed = <Timed>place.timed
            place = place.next
            if timed.due <= last:
                leave_ring(&timed.place)
                enter_ring(&self.passed, &timed.place)
        while self.passed.next != &self.passed:
            timed = <Timed>self.passed.next.timed
            timed.wait_no_more(self)
            timed.time_is_up()
        return 0


cdef class Timed(Writer):
    """Something with at most one deadline at a time."""

    def __dealloc__(self):
        # A transport can be lost without a farewell, where its loop has no memory for one.
        if self.place.next is not NULL:
            leave_ring(&self.place)

    cdef int wait_until(self, Wheel wheel, double when) except -1:
        """Set the deadline, in seconds on the loop's clock, in place of an earlier one."""
        cdef Place* slot
        self.wait_no_more(wheel)
        self.due = wheel.tick_at(when)
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
