"""Deadlines: one coarse wheel for a loop, and no timer object for a connection."""

from libc.stdint cimport uint32_t

cdef double tick_s              # a tick in seconds

cdef enum:
    SLOT_COUNT = 256
    # When something happened is known to the tick of the wheel's last look: so many earlier, at
    # most.
    STALE_TICKS = 2

# Somebody's place on the wheel, a part of its owner, which has at most one deadline at a time: a
# place in the ring of those that wait in the same slot. A slot's own is where its ring begins and
# ends. All zeros: no deadline.
cdef struct Timer:
    Timer* previous
    Timer* next
    void* owner                 # an object, borrowed: its timer leaves the ring before it dies
    uint32_t due                # the tick of the deadline; 0: none

cdef class Wheel:
    """Knows whose time has come; its time moves in ticks."""
    cdef Timer slots[SLOT_COUNT]
    cdef Timer passed           # those whose time has come, and who have not been told
    cdef uint32_t tick          # the last one that has been dealt with; the first is 1
    cdef readonly double now    # seconds that have passed here, as of the last look
    cdef double looked          # when that was, on the loop's clock
    cdef bint was_late          # that look came late, and did not count
    cdef readonly Py_ssize_t waiting_count

    cdef int begin(self, double loop_time) noexcept
    cdef double since_look(self, double loop_time) noexcept
    cdef uint32_t tick_in(self, double loop_time, double seconds) noexcept
    cdef int start(self, Timer* timer, void* owner, uint32_t tick) noexcept
    cdef int stop(self, Timer* timer) noexcept
    cdef int turn_slot(self, Timer* slot) noexcept
    cdef bint has_passed(self) noexcept
    cdef void* take_passed(self) noexcept
    cdef list list_owners(self)
    cpdef int advance(self, double loop_time) except -1

cdef uint32_t ticks_of(object seconds) except? 0
cdef int forget_timer(Timer* timer) noexcept
