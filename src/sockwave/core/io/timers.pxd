"""Deadlines: one coarse wheel for a loop, and no timer object for a connection."""

from libc.stdint cimport uint32_t

from sockwave.core.io.writer cimport Writer

cdef double tick_s              # a tick in seconds

cdef enum:
    SLOT_COUNT = 256
    # When something happened is known to the tick of the wheel's last look: so many earlier, at
    # most.
    STALE_TICKS = 2

# A place in a ring of things that wait in the same slot;
# a slot's own place is where its ring begins and ends.
cdef struct Place:
    Place* previous
    Place* next
    void* timed                 # the Timed, borrowed: it leaves the ring before it dies

cdef class Wheel:
    """Knows whose time has come; its time moves in ticks."""
    cdef Place slots[SLOT_COUNT]
    cdef Place passed           # those whose time has come, and who have not been told
    cdef uint32_t tick          # the last one that has been dealt with; the first is 1
    cdef readonly double now    # seconds that have passed here, as of the last look
    cdef double looked          # when that was, on the loop's clock
    cdef bint was_late          # that look came late, and did not count
    cdef readonly Py_ssize_t waiting_count

    cdef int begin(self, double loop_time) noexcept
    cdef double since_look(self, double loop_time) noexcept
    cdef uint32_t tick_in(self, double loop_time, double seconds) noexcept
    cdef int turn_slot(self, Place* slot) noexcept
    cdef bint has_passed(self) noexcept
    cdef bint tell_next(self) except -1
    cdef list all_waiting(self)
    cpdef int advance(self, double loop_time) except -1

cdef class Timed(Writer):
    """Something with at most one deadline at a time."""
    cdef Place place
    cdef uint32_t due           # the tick of the deadline; 0: none

    cdef int wait_until(self, Wheel wheel, uint32_t tick) except -1
    cdef int wait_no_more(self, Wheel wheel) noexcept
    cdef int time_is_up(self) except -1

cdef uint32_t ticks_of(object seconds) except? 0
