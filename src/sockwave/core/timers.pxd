"""Deadlines: one coarse wheel for a loop, and no timer object for a connection."""

from libc.stdint cimport uint64_t

from sockwave.core.writer cimport Writer

cdef enum:
    SLOT_COUNT = 256

# A place in a ring of things that wait in the same slot;
# a slot's own place is where its ring begins and ends.
cdef struct Place:
    Place* previous
    Place* next
    void* timed                 # the Timed, borrowed: it leaves the ring before it dies

cdef class Wheel:
    """Calls `deadline_passed` on those whose time has come; its time moves in ticks."""
    cdef Place slots[SLOT_COUNT]
    cdef uint64_t tick          # the last one that has been dealt with
    cdef double now    # seconds, on the loop's clock; as of the last look at it
    cdef Py_ssize_t waiting_count

    cdef int turn_slot(self, Place* slot, uint64_t last) except -1
    cdef list all_waiting(self)
    cdef uint64_t tick_at(self, double when) noexcept
    cpdef int advance(self, double now) except -1

cdef class Timed(Writer):
    """Something with at most one deadline at a time."""
    cdef Place place
    cdef uint64_t due           # the tick of the deadline

    cdef int wait_until(self, Wheel wheel, double when) except -1
    cdef int wait_no_more(self, Wheel wheel) noexcept
    cdef int time_is_up(self) except -1
